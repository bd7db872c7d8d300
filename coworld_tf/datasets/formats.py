"""Dataset formats of others: told apart and read, as they are.

  coworld     released data of CoWorld, one npz file per episode
  dreamerv2   DreamerV2 and older versions of this project, likewise
  vd4rl       V-D4RL at 64 pixels, likewise
  vd4rl_hdf5  V-D4RL at 84 pixels, hdf5 files of many episodes
  minari      Minari, one hdf5 file with a group per episode
  user        anyone's npz files, one per episode: image, action, reward

What comes out has the names of `episodes.KEYS` (and discount, success), but
the data types, alignment and flags of the source.
"""

import functools
import pathlib
import re
import typing

import numpy as np

from coworld_tf.datasets import containers
from dreamerv2_base import files, store

FORMATS = 'coworld', 'dreamerv2', 'vd4rl', 'vd4rl_hdf5', 'minari', 'user'

_BASE = {'image', 'action', 'reward'}
_FLAGS = {'is_first', 'is_last', 'is_terminal'}
_OPTIONAL = {*_FLAGS, 'discount', 'success'}
# By the names of V-D4RL.
_SHARD = {
    'observation': 'image', 'action': 'action', 'reward': 'reward',
    'discount': 'discount'}
_FIRST, _LAST = 0, 2  # Values of its step_type.


class Record(typing.NamedTuple):
  """One episode of a source, read when `read` is called."""
  name: str  # Of the file and the part of it, relative to the source.
  read: typing.Callable[[], dict]


def recognise(path):
  """Name of the format of a file or directory.

  Raises:
    FileNotFoundError: there is nothing at this path.
    ValueError: it holds no format known here, or several.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise FileNotFoundError(f'No such file or directory: {path}')
  if (path / store.INDEX).exists():
    raise ValueError(f'{path} is a dataset of this project already')
  if (path / 'data' / 'main_data.hdf5').exists():
    return 'minari'
  archives, shards = _files(path, '.npz'), _files(path, '.hdf5', '.h5')
  if archives and shards:
    raise ValueError(f'{path} holds npz and hdf5 files, give --format')
  if archives:
    return _npz_format(archives[0])
  if shards:
    with containers.hdf5(shards[0]) as file:
      return 'vd4rl_hdf5' if 'step_type' in file else 'minari'
  raise ValueError(f'{path}: {_nothing_in(path)}')


def find(path, form, image_key=None):
  """Lists what a source holds.

  Args:
    path: file or directory.
    form: one of `FORMATS`.
    image_key: path of the images below a Minari episode, for those with
      several; None for the only ones.

  Returns:
    List of records, in the order of their names, and a list of repairs that
    concern none of them.

  Raises:
    ValueError: there is no record, or a file cannot be read.
  """
  path, repairs = pathlib.Path(path), []
  if form == 'minari':
    records = _find_minari(path, image_key)
  elif form == 'vd4rl_hdf5':
    records = []
    for shard in _files(path, '.hdf5', '.h5'):
      records += _find_spans(shard, repairs)
  else:
    read = functools.partial(_read_npz, form=form)
    records = [
        Record(file.name, functools.partial(read, file))
        for file in _files(path, '.npz')]
  if not records:
    raise ValueError(f'{path}: {_nothing_in(path)}')
  return records, repairs


def action_bounds(path):
  """Lower and upper bounds [A] of the actions of a Minari source, or None."""
  described = _minari_file(pathlib.Path(path)).with_name('metadata.json')
  if not described.exists():
    return None
  try:
    text = described.read_text(encoding='utf-8')
    space = files.parse_json(files.parse_json(text)['action_space'])
    low, high = (np.asarray(space[key], np.float64) for key in ('low', 'high'))
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
        f'{described}: no bounds of a Box action space ({error})') from error
  usable = np.isfinite(low).all() and np.isfinite(high).all()
  return (low, high) if usable and (low < high).all() else None


def _files(path, *suffixes):
  """Files of a directory by name, or the file itself."""
  found = [path] if path.is_file() else sorted(path.iterdir())
  return [x for x in found if x.suffix in suffixes and x.is_file()]


def _nothing_in(path):
  nested = []
  if path.is_dir():
    nested = [x for x in sorted(path.rglob('*')) if x.suffix in (
        '.npz', '.hdf5', '.h5')]
  hint = f'; give the folder {nested[0].parent}' if nested else ''
  return f'no episodes found (*.npz, *.hdf5){hint}'


def _npz_format(path):
  with containers.npz(path) as archive:
    keys = set(archive.files)
  missing = sorted(_BASE - keys)
  if missing:
    raise ValueError(
        f'{path}: format unknown, keys missing: {", ".join(missing)} '
        f'(found {", ".join(sorted(keys)) or "none"})')
  if 'discount' in keys and ('logprob' in keys or not _FLAGS & keys):
    return 'coworld'
  if not _FLAGS <= keys:
    return 'user'
  others = {x for x in keys - _BASE - _FLAGS if not x.startswith('log_')}
  return 'vd4rl' if others else 'dreamerv2'


def _read_npz(path, form):
  with containers.npz(path) as archive:
    arrays = {
        key: archive[key] for key in archive.files
        if key in _BASE | _OPTIONAL or key.startswith('log_')}
  needed = _BASE | {'discount'} if form == 'coworld' else _BASE
  missing = sorted(needed - set(arrays))
  if missing:
    raise ValueError(f'{path}: keys missing: {", ".join(missing)}')
  return arrays


def _find_spans(path, repairs):
  """Records of a shard, which may begin and end within an episode."""
  with containers.hdf5(path) as file:
    missing = sorted({*_SHARD, 'step_type'} - set(file))
    lengths = {key: len(file[key]) for key in file if key in _SHARD}
    steps = (
        containers.read(file, 'step_type').ravel() if not missing
        else np.zeros(0))
  if missing:
    raise ValueError(f'{path}: keys missing: {", ".join(missing)}')
  if {*lengths.values()} != {len(steps)}:
    raise ValueError(f'{path}: keys differ in length: {lengths}')
  starts = np.flatnonzero(steps == _FIRST).tolist()
  if not starts:
    raise ValueError(f'{path}: no episode begins in it (step_type 0)')
  if starts[0]:
    repairs.append(f'{path.name}: {starts[0]} rows before the first episode '
                   'are left out')
  if steps[-1] != _LAST:
    repairs.append(f'{path.name}: the last episode is cut off')
  spans = zip(starts, [*starts[1:], len(steps)])
  # A cut may leave no more than the reset.
  return [
      Record(f'{path.name}:{index}', functools.partial(
          _read_span, path, start, stop))
      for index, (start, stop) in enumerate(spans) if stop - start > 1]


def _read_span(path, start, stop):
  with containers.hdf5(path) as file:
    return {
        ours: containers.read(file, key, start, stop)
        for key, ours in _SHARD.items()}


def _minari_file(path):
  if path.is_file():
    return path
  inner = path / 'data' / 'main_data.hdf5'
  return inner if inner.is_file() else path / 'main_data.hdf5'


def _find_minari(path, image_key):
  path = _minari_file(path)
  if not path.is_file():
    raise FileNotFoundError(f'No such file: {path}')
  with containers.hdf5(path) as file:
    numbers = sorted(
        int(name[8:]) for name in file if re.fullmatch(r'episode_\d+', name))
  return [
      Record(f'{path.name}:{number}', functools.partial(
          _read_minari, path, number, image_key))
      for number in numbers]


def _read_minari(path, number, image_key):
  """One group; the first observation has no action, reward or flags."""
  where = f'{path}: episode_{number}'
  with containers.hdf5(path) as file:
    group = file[f'episode_{number}']
    images = []
    group.visititems(lambda name, item: images.append(name)
                     if containers.is_image(name, item) else None)
    key = image_key or (images[0] if len(images) == 1 else None)
    needed = ['actions', 'rewards', 'terminations']
    missing = [x for x in (*needed, key) if x and x not in group]
    if key and not missing:
      found = [
          containers.read_images(group, key),
          *(containers.read(group, x) for x in needed)]
      names = 'image', 'action', 'reward', 'is_terminal'
      arrays = dict(zip(names, found))
  if missing:
    raise ValueError(f'{where}: missing: {", ".join(missing)}')
  if not key:
    raise ValueError(
        f'{where}: several images ({", ".join(images)}), name one with '
        '--image_key' if images else f'{where}: observations hold no images')
  if not np.issubdtype(arrays['action'].dtype, np.floating):
    raise ValueError(
        f'{where}: actions are {arrays["action"].dtype}, only continuous '
        'ones can be learned from')
  return arrays
