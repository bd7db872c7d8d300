"""Tells what a dataset holds.

  python -m coworld_tf.datasets info DIR --plot FOLDER
"""

import argparse
import json
import pathlib
import textwrap

import numpy as np

from coworld_tf import cli
from coworld_tf.analysis import plots
from dreamerv2_base import episodes, logger, store

_BAR = 40  # Characters of the longest bar of the histogram.
_SHEET = 8  # Columns of frames, one row of them for each episode shown.


def main(argv=None):
  """Runs the command line and returns the exit status."""
  args = parse_arguments(argv)
  logger.setup_terminal('coworld_tf')
  with cli.input_errors():
    data = store.Store(args.directory)
    if not data.episodes:
      raise ValueError(f'{args.directory} holds no episodes')
    data.check_files()
    print('\n'.join(table(data, args.directory)))
    if args.plot:
      args.plot.mkdir(parents=True, exist_ok=True)
      plot(data, args.plot)
      print(f'plots: {args.plot / "frames.png"}, {args.plot / "returns.png"}')
  return 0


def table(data, directory):
  """Lines that describe a dataset; reads the actions, but no images.

  Args:
    data: store of the dataset, with at least one episode.
    directory: of the dataset.
  """
  metadata = {}
  if (directory / episodes.METADATA).exists():
    metadata = episodes.read_metadata(directory)
  rows = np.array([entry['rows'] for entry in data.episodes])
  steps = int((rows - 1).sum())
  size = sum(x.stat().st_size for x in directory.rglob('*') if x.is_file())
  facts = {
      'episodes': len(rows), 'agent steps': steps,
      'rows per episode': f'{rows.min()} to {rows.max()}'}
  if 'action_repeat' in metadata:
    facts['frames'] = steps * metadata['action_repeat']
  facts['size on disk'] = f'{size / 2 ** 20:.1f} MiB'
  facts['success rate'] = _success(data.episodes)
  lines = [f'{directory}', *(f'  {k:<17} {v}' for k, v in facts.items())]
  lines += ['rows of', *(
      f'  {key:<17} {dtype.base} {list(dtype.shape)}'
      for key, dtype in data.keys.items())]
  returns = np.array([entry['return'] for entry in data.episodes])
  statistics = episodes.return_statistics(returns)
  lines.append('returns')
  for key in ('mean', 'std', 'min', 'q25', 'median', 'q75', 'max'):
    lines.append(f'  {key:<17} {statistics[key]:.4g}')
  lines += _histogram(returns)
  lines += ['actions', *_actions(data)]
  lines.append('metadata')
  for key, value in metadata.items():
    text = value if isinstance(value, str) else json.dumps(value)
    # The settings of an agent fill a page.
    lines.append(f'  {key:<17} {textwrap.shorten(text, 400)}')
  return lines


def plot(data, folder):
  """Writes frames.png and returns.png.

  A row of frames shows one episode from its first to its last observation;
  the episodes are spread from the lowest to the highest return.

  Args:
    data: store of the dataset, with at least one episode.
    folder: existing directory.
  """
  ranked = sorted(data.episodes, key=lambda entry: entry['return'])
  count = min(_SHEET, len(ranked))
  frames = []
  for index in np.linspace(0, len(ranked) - 1, count).round().astype(int):
    images = data.read(ranked[index])['image']
    rows = np.linspace(0, len(images) - 1, _SHEET).round().astype(int)
    frames.append(images[rows])
  plots.contact_sheet(np.concatenate(frames), folder / 'frames.png', _SHEET)
  returns = [entry['return'] for entry in data.episodes]
  plots.histogram(returns, folder / 'returns.png', 'Return of an episode')


def parse_arguments(argv=None):
  """Parses the command line."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.datasets info', allow_abbrev=False,
      description='Tell what a dataset holds.')
  parser.add_argument(
      'directory', type=pathlib.Path, metavar='DIR', help='of the dataset')
  parser.add_argument(
      '--plot', type=pathlib.Path, metavar='FOLDER',
      help='also write frames.png, a contact sheet, and returns.png, the '
      'histogram of returns, into this folder')
  return parser.parse_args(argv)


def _success(entries):
  known = [x['success'] for x in entries if x.get('success') is not None]
  if not known:
    return 'not recorded'
  share = sum(known) / len(known)
  return f'{share:.1%} of {len(known)} episodes that tell'


def _histogram(values):
  counts, edges = np.histogram(values, min(10, len(values)))
  return [
      f'  {low:>8.4g} to {high:<8.4g} {count:>6} '
      f'{"#" * round(_BAR * count / counts.max())}'
      for count, low, high in zip(
          counts.tolist(), edges[:-1].tolist(), edges[1:].tolist())]


def _actions(data):
  """A line for each dimension, without the zeros of the reset rows."""
  total = square = 0
  low, high = np.inf, -np.inf
  count = 0
  for entry in data.episodes:
    actions = data.read(entry, ['action'])['action'][1:].astype(np.float64)
    total, square = total + actions.sum(0), square + (actions ** 2).sum(0)
    low = np.minimum(low, actions.min(0))
    high = np.maximum(high, actions.max(0))
    count += len(actions)
  mean = total / count
  std = np.sqrt(np.maximum(square / count - mean ** 2, 0))
  return [
      f'  {index:<3} mean {m:+.3f}  std {s:.3f}  min {a:+.3f}  max {b:+.3f}'
      for index, (m, s, a, b) in enumerate(zip(mean, std, low, high))]
