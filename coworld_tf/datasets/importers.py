"""Brings datasets of other formats into the store of this project.

  python -m coworld_tf.datasets import SOURCE --out DIR

Rows come out as everywhere here: the observation reached, the action that
led to it and the reward on arrival, row 0 being the reset.
"""

import argparse
import collections
import contextlib
import functools
import pathlib
import sys

from coworld_tf import cli, limits
from coworld_tf.datasets import convert, formats
from dreamerv2_base import episodes, logger, progress, store

# Settings of the simulator, recorded where they are known.
SETTINGS = (
    'task', 'quality', 'action_repeat', 'time_limit', 'camera', 'fix_rewards',
    'policy', 'seed', 'versions')


def main(argv=None):
  """Runs the command line and returns the exit status."""
  args = parse_arguments(argv)
  logger.setup_terminal('coworld_tf')
  try:
    with cli.input_errors():
      metadata = run(args)
  except KeyboardInterrupt:
    print('stopped; the same command continues', file=sys.stderr)
    return 130
  print(
      '{out}: {episodes} episodes, {steps} agent steps, return {mean:.1f} +- '
      '{std:.1f}'.format(out=args.out, **metadata, **metadata['returns']))
  for repair, count in metadata['repairs'].items():
    print(f'  {repair} ({count} episodes)')
  for note in metadata['notes']:
    print(f'  {note}')
  return 0


def run(args):
  """Imports what the arguments say; a complete import is left as it is.

  Returns:
    The metadata of the dataset.

  Raises:
    ValueError, OSError: the source cannot be imported, or the output
      directory holds something else.
  """
  limits.check({
      f'--{key}': (getattr(args, key), *limits.bounds(key))
      for key in ('size', 'action_repeat', 'time_limit')
      if getattr(args, key) is not None})
  form = args.format or formats.recognise(args.source)
  records, notes = formats.find(args.source, form, args.image_key)
  metadata = describe(args, form)
  if is_complete(args.out, metadata):
    return episodes.read_metadata(args.out)
  args.out.mkdir(parents=True, exist_ok=True)
  episodes.write_metadata(args.out, metadata)
  bounds = formats.action_bounds(args.source) if form == 'minari' else None
  make = functools.partial(
      convert.episode, form=form, alignment=args.alignment, size=args.size,
      bounds=bounds)
  notes += add(args.out, records, make, args.skip_faulty)
  metadata = {**metadata, **summary(args.out, metadata), 'notes': notes}
  episodes.write_metadata(args.out, metadata)
  return metadata


def add(directory, records, make, skip_faulty):
  """Adds the records that are not there yet.

  Args:
    directory: of the dataset.
    records: all of the source.
    make: as `convert.episode`, of arrays and a name.
    skip_faulty: whether faulty records are left out instead of raised.

  Returns:
    A line for each record left out.
  """
  left_out = []
  with store.Writer(directory) as writer:
    done = {str(entry.get('source')) for entry in writer.episodes}
    bar = progress.Progress(len(records), 'import', 0, 'episode')
    with contextlib.closing(bar):
      for record in records:
        bar.update()
        if record.name in done:
          continue
        try:
          arrays = record.read()
          episode, repairs = make(arrays, record.name)
          writer.append(
              episode, source=record.name, repairs=repairs,
              **convert.success(arrays))
        except ValueError as error:
          told = str(error)
          if record.name not in told:
            told = f'{record.name}: {told}'
          if not skip_faulty:
            raise ValueError(
                f'{told} (--skip_faulty leaves such episodes out)') from error
          left_out.append(f'left out: {told}')
  return left_out


def describe(args, form):
  """Metadata of an import that has begun."""
  found = {'action_repeat': 2} if form.startswith('vd4rl') else {}
  path = args.source / episodes.METADATA
  if form in ('dreamerv2', 'user') and path.exists():
    found = episodes.read_metadata(args.source)
  found = {key: found[key] for key in SETTINGS if key in found}
  given = {key: getattr(args, key, None) for key in SETTINGS}
  given = {key: value for key, value in given.items() if value is not None}
  options = {key: getattr(args, key) for key in (
      'alignment', 'size', 'image_key')}
  imported = {'source': str(args.source), 'format': form, **options}
  return {**found, **given, 'imported': imported, 'complete': False}


def is_complete(directory, metadata):
  """Whether an output directory holds this import already.

  Raises:
    ValueError: it holds something else.
  """
  if store.is_new(directory):
    return False
  if not (directory / episodes.METADATA).exists():
    raise ValueError(
        f'{directory} is not empty and has no {episodes.METADATA}; '
        'choose another --out')
  there = episodes.read_metadata(directory)
  if 'imported' in there and not store.Store(directory).episodes:
    return False
  told, wanted = (
      {**{key: x.get(key) for key in SETTINGS}, **x.get('imported', {})}
      for x in (there, metadata))
  for key, value in wanted.items():
    if told.get(key) != value:
      raise ValueError(
          f'{directory} holds another dataset ({key} is {told.get(key)} '
          f'there and {value} here); choose another --out')
  return there.get('complete', False)


def summary(directory, metadata):
  """Metadata that follow from the episodes imported.

  Raises:
    ValueError: there are none.
  """
  data = store.Store(directory)
  if not data.episodes:
    raise ValueError(
        f'{metadata["imported"]["source"]}: none of its episodes can be used')
  repairs = collections.Counter(
      str(repair) for entry in data.episodes
      for repair in entry.get('repairs') or [])
  steps = sum(entry['rows'] - 1 for entry in data.episodes)
  known = {'repairs': dict(repairs)}
  if 'action_repeat' in metadata:
    known['frames'] = steps * metadata['action_repeat']
  height, width, _ = data.keys['image'].shape
  if height == width:
    known['size'] = height
  returns = [entry['return'] for entry in data.episodes]
  return {
      **known, 'episodes': len(data.episodes), 'steps': steps,
      'returns': episodes.return_statistics(returns), 'complete': True}


def parse_arguments(argv=None):
  """Parses the command line."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.datasets import', allow_abbrev=False,
      description='Bring a dataset of another format into a new directory.',
      epilog='Prints what was repaired. The source is never changed. Stopped '
      'half way, the same command continues.')
  add = parser.add_argument
  add('source', type=pathlib.Path, metavar='SOURCE',
      help='folder of episodes, Minari dataset, or a single file')
  add('--out', type=pathlib.Path, required=True, metavar='DIR',
      help='directory of the dataset, made if it does not exist')
  add('--format', choices=formats.FORMATS,
      help='of the source; recognised by itself if not given')
  add('--alignment', choices=convert.ALIGNMENTS, default='auto',
      help='arrival: a row holds the action that led to its observation; '
      'departure: the action taken from it; auto (default): told by the '
      'lengths and the action in row 0')
  add('--size', type=int, metavar='PIXELS',
      help='shrink the images to this height and width')
  add('--image_key', metavar='KEY',
      help='of the images in a Minari episode that has several, for example '
      'observations/front')
  add('--skip_faulty', action='store_true',
      help='leave faulty episodes out and list them, instead of stopping')
  group = parser.add_argument_group(
      'recorded for the checks of training, where the source does not say')
  add = group.add_argument
  add('--task', help='for example dmc_walker_walk')
  add('--quality', choices=['exact', 'fast'], help='rendering')
  add('--action_repeat', type=int, metavar='R', help='frames per agent step')
  add('--time_limit', type=int, metavar='STEPS', help='in agent steps')
  add('--camera', help='of the images')
  add('--fix_rewards', action='store_true', default=None,
      help='RoboDesk: rewards saw objects move')
  return parser.parse_args(argv)
