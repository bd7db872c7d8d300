"""Checks a dataset and sets faulty episodes aside.

  python -m coworld_tf.datasets validate DIR --repair
"""

import argparse
import contextlib
import json
import logging
import pathlib

import numpy as np

from coworld_tf import cli
from coworld_tf.datasets import alignment
from dreamerv2_base import episodes, files, logger, progress, store

QUARANTINE = 'quarantine'
_logger = logging.getLogger(__name__)


def main(argv=None):
  """Runs the command line; the exit status is 1 if there are faults left."""
  args = parse_arguments(argv)
  logger.setup_terminal('coworld_tf')
  with cli.input_errors():
    data = store.Store(args.directory)
    faulty = check_episodes(data)
    general = check_dataset(data, faulty)
    for number, faults in faulty.items():
      print(f'episode {number}: {"; ".join(faults)}')
    for fault in general:
      print(f'dataset: {fault}')
    count = len(data.episodes)
    print(f'{args.directory}: {count} episodes, {len(faulty)} at fault')
    if args.repair:
      # Also where nothing is at fault but the counts, since an earlier repair
      # may have been interrupted.
      repair(data, faulty)
      if faulty:
        print(f'moved to {args.directory / QUARANTINE}')
      general = check_dataset(store.Store(args.directory), {})
      faulty = {}
  return 1 if faulty or general else 0


def check_episodes(data):
  """Faults of each faulty episode, {id: [line, ...]}."""
  faulty, seen = {}, {}
  bar = progress.Progress(len(data.episodes), 'validate', 0, 'episode')
  with contextlib.closing(bar):
    for entry in data.episodes:
      faults = [f'{key}: rows missing or not as they were written (checksum)'
                for key in data.verify(entry)]
      if not faults:
        faults = check_episode(data.read(entry), entry)
        content = tuple(
            entry['crc32'][key] for key in ('image', 'action', 'reward'))
        if content in seen:
          faults.append(f'the same as episode {seen[content]}')
        seen.setdefault(content, entry['id'])
      if faults:
        faulty[entry['id']] = faults
      bar.update()
  return faulty


def check_episode(episode, entry):
  """Faults of what is stored of one episode, one line each."""
  try:
    episodes.checked(episode, 'content')
  except ValueError as error:
    return [str(error)]
  faults = []
  images, actions, rewards = (
      episode[key] for key in ('image', 'action', 'reward'))
  for key, rows in (
      ('is_first', episode['is_first'][1:]),
      ('is_last', episode['is_last'][:-1]),
      ('is_terminal', episode['is_terminal'][:-1])):
    if rows.any():
      row = int(np.flatnonzero(rows)[0]) + (key == 'is_first')
      faults.append(f'{key} is true in row {row} of {len(rewards)}')
  if not episode['is_last'][-1]:
    faults.append('is_last is false in the last row')
  if np.abs(actions).max() > 1:
    faults.append(f'actions reach {np.abs(actions).max():.4g}, beyond 1')
  if actions[0].any() or rewards[0]:
    faults.append('row 0, the reset, has an action or a reward')
  if not np.isclose(entry['return'], episodes.episode_return(episode)):
    faults.append(f'return in the index is {entry["return"]}, that of the '
                  f'rewards {episodes.episode_return(episode)}')
  if (images == images[0]).all():
    faults.append('all images are the same')
  return faults


def check_dataset(data, faulty):
  """Faults that are not those of a single episode, one line each."""
  path, faults = data.directory / episodes.METADATA, []
  if path.exists():
    metadata = episodes.read_metadata(data.directory)
    if not metadata.get('complete', True):
      faults.append(f'{episodes.METADATA} says that it is unfinished')
    told = metadata.get('episodes', len(data.episodes))
    if told != len(data.episodes):
      faults.append(f'{episodes.METADATA} tells of {told} episodes, there '
                    f'are {len(data.episodes)}')
  sound = [x for x in data.episodes if x['id'] not in faulty]
  if not sound:
    return [*faults, 'no sound episode']
  # From all stages of a learner.
  chosen = sound[::max(1, len(sound) // 30)]
  verdict, seen = alignment.alignment(
      data.read(entry, ['image', 'action']) for entry in chosen)
  if verdict == alignment.WRONG:
    faults.append(
        'actions lie one row too early: frames show the action of the row '
        f'before ({seen[-1]:.1f} standard errors), not their own '
        f'({seen[0]:.1f}); import again with --alignment departure')
  else:
    _logger.info('alignment of the actions: %s', verdict)
  return faults


def repair(data, faulty):
  """Moves episodes out of the dataset into its quarantine folder.

  What can be read of each becomes an npz file; why it is there, and its
  entry of the index, a line of faults.jsonl.

  Args:
    data: store of the dataset.
    faulty: {id: [line, ...]}.
  """
  folder = data.directory / QUARANTINE
  removed = [x for x in data.episodes if x['id'] in faulty]
  if removed:
    files.check_links(data.directory)
    folder.mkdir(exist_ok=True)
  for entry in removed:
    path = folder / f'episode-{entry["id"]}-{entry["crc32"]["image"]:08x}.npz'
    with files.replacing(path) as temporary, temporary.open('wb') as stream:
      np.savez_compressed(stream, **salvage(data, entry))
    line = {'file': path.name, 'faults': faulty[entry['id']], 'entry': entry}
    with (folder / 'faults.jsonl').open('a', encoding='utf-8') as stream:
      stream.write(json.dumps(line) + '\n')
  if removed:
    store.remove(data.directory, list(faulty))
  left = [x for x in data.episodes if x['id'] not in faulty]
  if (data.directory / episodes.METADATA).exists():
    update_metadata(data.directory, left)


def salvage(data, entry):
  """The rows of an episode that are on disk, by key."""
  arrays = {}
  for key, row in data.keys.items():
    path = data.directory / f'shard-{entry["shard"]:05d}' / f'{key}.bin'
    size = path.stat().st_size if path.exists() else 0
    rows = min(size // row.itemsize - entry['start'], entry['rows'])
    if rows > 0:
      with contextlib.suppress(OSError, ValueError):
        arrays.update(data.read({**entry, 'rows': rows}, [key]))
  return arrays


def update_metadata(directory, left):
  """Counts anew what the metadata tell of the episodes."""
  metadata = episodes.read_metadata(directory)
  steps = sum(entry['rows'] - 1 for entry in left)
  counts = {'episodes': len(left), 'steps': steps}
  if {'frames', 'action_repeat'} <= set(metadata):
    counts['frames'] = steps * metadata['action_repeat']
  metadata.update(counts)
  metadata.pop('returns', None)
  if left:
    metadata['returns'] = episodes.return_statistics(
        [entry['return'] for entry in left])
  episodes.write_metadata(directory, metadata)


def parse_arguments(argv=None):
  """Parses the command line."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.datasets validate', allow_abbrev=False,
      description='Check checksums, shapes, flags, bounds, alignment and '
      'duplicates. Exit status 1 if there are faults.')
  parser.add_argument(
      'directory', type=pathlib.Path, metavar='DIR', help='of the dataset')
  parser.add_argument(
      '--repair', action='store_true',
      help=f'move faulty episodes to DIR/{QUARANTINE}; nothing is deleted')
  return parser.parse_args(argv)
