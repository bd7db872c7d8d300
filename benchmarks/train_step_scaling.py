"""Growth of an update's time and memory, for benchmarks.train_step.

Each point of an axis is a process, and the points of an axis take turns. With
several sources one is chosen at each step, so that all of them work. Datasets
are on disk, and updates sample from them; all shards but the first are hard
links to it.
"""

import math
import pathlib
import tempfile

from benchmarks import replay, turns
from benchmarks.train_step_contender import CONFIGS
from dreamerv2_base import flags

# Multiples of the size's own setting.
FACTORS = {
    'dataset.batch': (0.25, 0.5, 1, 2), 'dataset.length': (0.25, 0.5, 1, 2),
    'imag_horizon': (1 / 3, 1, 2)}
SOURCES = 1, 2, 4
EPISODES = 20, 200, 2000  # Of 500 steps.
NAMES = {
    'dataset.batch': 'batch', 'dataset.length': 'length',
    'imag_horizon': 'horizon', 'sources': 'sources', 'steps': 'dataset steps'}
# Largest exponents of growth between the ends, for noise a bit above what
# linear and flat mean.
LINEAR, FLAT = 1.05, 0.01


def measure(size, size_flags, args):
  """Measures all axes.

  Returns:
    'axes': {axis: {'points': list of dicts, 'exponents': dict}}.
  """
  flat, axes = flags.parse(size_flags, CONFIGS).flat(), {}
  for axis, factors in FACTORS.items():
    points = [max(1, round(flat[axis] * factor)) for factor in factors]
    axes[axis] = grow(size, axis, args, {
        point: turns.command(
            'dreamerv2', resized(size_flags, axis, point), {})
        for point in points})
  axes['sources'] = grow(size, 'sources', args, {
      count: turns.command(
          'multi_source', size_flags, {'multi_source.reselect': 'step'},
          ['--sources', str(count)]) for count in SOURCES})
  with tempfile.TemporaryDirectory() as directory:
    points = {}
    for count in EPISODES:
      data = pathlib.Path(directory) / str(count)
      replay.build_store(data, count)
      points[count * (replay.ROWS - 1)] = turns.command(
          'dreamerv2', size_flags, {}, ['--data', str(data)])
    axes['steps'] = grow(size, 'steps', args, points)
  return {'axes': axes}


def resized(size_flags, key, value):
  """Returns the flags of a size with another value of a key."""
  words = list(size_flags)
  if f'--{key}' in words:
    words[words.index(f'--{key}') + 1] = str(value)
    return words
  return [*words, f'--{key}', str(value)]


def grow(size, axis, args, commands):
  """Lets the points of an axis update in turns.

  Args:
    size: name of the size.
    axis: what grows.
    args: of the command line.
    commands: {point: arguments of its process}, from small to large.

  Returns:
    'points', each with its place, CPU seconds over cores, and megabytes; and
    'exponents' of the growth of these two.
  """
  label = f'{size}, {NAMES[axis]}'
  found = turns.update_all(commands, args.rounds, args.updates, label)
  points = [{
      'at': at, 'cpu': round(turns.median(entry, 'cpu') / turns.threads(), 5),
      'peak_mb': entry['rounds'][-1]['peak_mb']}
      for at, entry in found.items()]
  first, *_, last = found.values()
  span = math.log(points[-1]['at'] / points[0]['at'])
  return {'points': points, 'exponents': {
      key: round(math.log(turns.ratio(last, first, key)) / span, 3)
      for key in ('cpu', 'peak_mb')}}


def table(size, found):
  """Returns the axes as a Markdown table."""
  lines = [
      f'Size {size}, CPU s / cores and peak MB of an update:', '',
      '| | points | CPU s | peak MB | CPU exponent | memory exponent |',
      '|---|---|---|---|---|---|']
  for axis, entry in found['axes'].items():
    cells = [NAMES[axis], *[
        ', '.join(format(point[key], form) for point in entry['points'])
        for key, form in (('at', 'd'), ('cpu', '.3g'), ('peak_mb', 'd'))],
        *entry['exponents'].values()]
    lines.append(f"| {' | '.join(map(str, cells))} |")
  return '\n'.join(lines)


def misses(size, found):
  """Returns a line for each axis on which more grows than should."""
  lines = []
  for axis, entry in found['axes'].items():
    bound, word = (FLAT, 'flat') if axis == 'steps' else (LINEAR, 'linear')
    for key, exponent in entry['exponents'].items():
      if exponent > bound:
        lines.append(
            f'{size}: {key} grows with {NAMES[axis]} to the power of '
            f'{exponent}, which is not {word}')
  return lines
