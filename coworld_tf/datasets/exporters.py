"""Writes a dataset in the formats of others.

  python -m coworld_tf.datasets export DIR --format minari --out OUT

The output appears under its name when it is complete; until then it is
called OUT.partial.
"""

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys

import h5py
import numpy as np

from coworld_tf import cli
from dreamerv2_base import episodes, files, logger, progress, store

# The first version that reads images which are not JPEG.
MINARI = '0.5.4'


def main(argv=None):
  """Runs the command line and returns the exit status."""
  args = parse_arguments(argv)
  logger.setup_terminal('coworld_tf')
  try:
    with cli.input_errors():
      data = store.Store(args.directory)
      if not data.episodes:
        raise ValueError(f'{args.directory} holds no episodes to export')
      if args.out.exists():
        raise ValueError(f'{args.out} exists already; choose another --out')
      partial = args.out.with_name(f'{args.out.name}.partial')
      # Left by an interrupted export, perhaps of another dataset.
      shutil.rmtree(partial, ignore_errors=True)
      partial.mkdir(parents=True)
      EXPORTERS[args.format](data, args.directory, partial, args.out.name)
      os.replace(partial, args.out)
  except KeyboardInterrupt:
    print('stopped; the same command starts over', file=sys.stderr)
    return 130
  print(f'{args.out}: {len(data.episodes)} episodes, {args.format}')
  return 0


def to_dreamerv2(data, directory, out, name):
  """Writes one npz file per episode and the metadata.

  The time stamps in the names are made up, a second apart in the order of
  the episodes.

  Args:
    data: store of the dataset.
    directory: of the dataset.
    out: existing directory.
    name: not used, files have names of their own.
  """
  del name
  for entry in _progress(data.episodes):
    digest = hashlib.md5(json.dumps(entry, sort_keys=True).encode())
    stamp = datetime.datetime(2000, 1, 1) + datetime.timedelta(
        seconds=entry['id'])
    path = out / '{:%Y%m%dT%H%M%S}-{}-{}.npz'.format(
        stamp, digest.hexdigest(), entry['rows'] - 1)
    episode = _read(data, entry)
    with files.replacing(path) as temporary, temporary.open('wb') as stream:
      np.savez_compressed(stream, **episode)
  if (directory / episodes.METADATA).exists():
    episodes.write_metadata(out, episodes.read_metadata(directory))


@contextlib.contextmanager
def _hdf5(path):
  """A new hdf5 file; errors of the disk are OSErrors."""
  try:
    with h5py.File(path, 'w', track_order=True) as file:
      yield file
  except RuntimeError as error:  # What h5py raises when it cannot close it.
    raise OSError(f'{path}: {error}') from error


def to_minari(data, directory, out, name):
  """Writes a Minari dataset: `data/main_data.hdf5` and its metadata.

  Images are not JPEG as Minari's own are, because that would lose detail.

  Args:
    data: store of the dataset.
    directory: of the dataset; its metadata are told in the description.
    out: existing directory.
    name: of the dataset, made an identifier of Minari.
  """
  folder = out / 'data'
  folder.mkdir(exist_ok=True)
  with _hdf5(folder / 'main_data.hdf5') as file:
    for number, entry in enumerate(_progress(data.episodes)):
      episode = _read(data, entry)
      group = file.create_group(f'episode_{number}')
      group.attrs['id'] = number
      group.attrs['total_steps'] = entry['rows'] - 1
      group.create_group('infos')
      for key, values in _departures(episode).items():
        group.create_dataset(
            key, data=values, chunks=True, maxshape=(None, *values.shape[1:]),
            compression='gzip', compression_opts=1)
  shapes = {key: data.keys[key].shape for key in ('image', 'action')}
  described = {}
  if (directory / episodes.METADATA).exists():
    described = episodes.read_metadata(directory)
  metadata = {
      'total_episodes': len(data.episodes),
      'total_steps': sum(entry['rows'] - 1 for entry in data.episodes),
      'data_format': 'hdf5', 'jpeg_encoding': False,
      'observation_space': _box('uint8', shapes['image'], 0, 255),
      'action_space': _box('float32', shapes['action'], -1.0, 1.0),
      'dataset_id': _identifier(name), 'minari_version': MINARI,
      'description': json.dumps(described)}
  episodes.write_metadata(folder, metadata)


EXPORTERS = {'dreamerv2': to_dreamerv2, 'minari': to_minari}


def parse_arguments(argv=None):
  """Parses the command line."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.datasets export', allow_abbrev=False,
      description='Write a dataset in the format of another project.')
  add = parser.add_argument
  add('directory', type=pathlib.Path, metavar='DIR', help='of the dataset')
  add('--format', choices=sorted(EXPORTERS), required=True,
      help='dreamerv2: one npz per episode; minari: hdf5, lossless images')
  add('--out', type=pathlib.Path, required=True, metavar='OUT',
      help='directory to make; for Minari put it into its datasets folder, '
      'under a name that ends in -v0')
  return parser.parse_args(argv)


def _progress(entries):
  bar = progress.Progress(len(entries), 'export', 0, 'episode')
  with contextlib.closing(bar):
    for entry in entries:
      yield entry
      bar.update()


def _read(data, entry):
  if data.verify(entry):
    raise ValueError(
        f'{data.directory}: episode {entry["id"]} is damaged, see '
        'python -m coworld_tf.datasets validate')
  return data.read(entry)


def _departures(episode):
  """Minari's arrays: actions taken from, not led to, an observation."""
  over = episode['is_last'] & ~episode['is_terminal']
  return {
      'observations': episode['image'], 'actions': episode['action'][1:],
      'rewards': episode['reward'][1:],
      'terminations': episode['is_terminal'][1:], 'truncations': over[1:]}


def _box(dtype, shape, low, high):
  """A bounded space as Minari writes it down."""
  bounds = {
      name: np.full(shape, bound).tolist()
      for name, bound in (('low', low), ('high', high))}
  return json.dumps(
      {'type': 'Box', 'dtype': dtype, 'shape': list(shape), **bounds})


def _identifier(name):
  name = re.sub(r'[^\w-]', '_', name)
  return name if re.search(r'-v\d+$', name) else f'{name}-v0'
