"""Growth of an update's time and memory, for benchmarks.train_step.

Each point of an axis is a process, and the points of an axis take turns. With
several sources one is chosen at each step, so that all of them work. Datasets
are on disk, and updates sample from them; all shards but the first are hard
links to it.
"""

import math
import pathlib
import tempfile

from benchmarks import replay
from benchmarks.train_step import turns
from benchmarks.train_step.contender import CONFIGS
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
    'axes': {axis: see `judge`}.
  """
  axes = {}
  with tempfile.TemporaryDirectory() as directory:
    data = {}
    for count in EPISODES:
      path = data[count * (replay.ROWS - 1)] = pathlib.Path(
          directory) / str(count)
      replay.build_store(path, count)
    for axis, points in commands(size_flags, data).items():
      axes[axis] = judge(turns.update_all(
          points, args.rounds, args.updates, f'{size}, {NAMES[axis]}'))
  return {'axes': axes}


def commands(size_flags, data):
  """Returns {axis: {point: arguments of its process}}, points ascending.

  Args:
    size_flags: arguments of train.py that make the size.
    data: {steps: directory of a dataset}.
  """
  flat, axes = flags.parse(size_flags, CONFIGS).flat(), {}
  for axis, factors in FACTORS.items():
    points = [max(1, round(flat[axis] * factor)) for factor in factors]
    axes[axis] = {
        point: turns.command(
            'dreamerv2', resized(size_flags, axis, point), {})
        for point in points}
  axes['sources'] = {
      count: turns.command(
          'multi_source', size_flags, {'multi_source.reselect': 'step'},
          ['--sources', str(count)]) for count in SOURCES}
  axes['steps'] = {
      steps: turns.command(
          'dreamerv2', size_flags, {}, ['--data', str(path)])
      for steps, path in data.items()}
  return axes


def resized(size_flags, key, value):
  """Returns the flags of a size with another value of a key."""
  words = list(size_flags)
  if f'--{key}' in words:
    words[words.index(f'--{key}') + 1] = str(value)
    return words
  return [*words, f'--{key}', str(value)]


def judge(found):
  """Returns 'points' and the 'exponents' of the growth between their ends.

  A point has its place, CPU seconds over cores, and megabytes.

  Args:
    found: {point: entry}, see turns.update_all.
  """
  points = [{
      'at': at, 'cpu': round(turns.median(entry, 'cpu') / turns.threads(), 5),
      'peak_mb': entry['rounds'][-1]['peak_mb']}
      for at, entry in found.items()]
  first, *_, last = found.values()
  span = math.log(points[-1]['at'] / points[0]['at'])
  return {'points': points, 'exponents': {
      key: math.log(turns.ratio(last, first, key)) / span
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
        *[f'{x:.2f}' for x in entry['exponents'].values()]]
    lines.append(f"| {' | '.join(map(str, cells))} |")
  return '\n'.join(lines)


def merge(old, found, facts):
  """Returns what was found at a size, with the facts of the run."""
  return {**facts, **found}


def verdicts(results):
  """Returns a line for each axis and measure: met or missed.

  Args:
    results: {size: as from `measure`}.
  """
  lines = []
  for size, found in results.items():
    for axis, entry in found['axes'].items():
      bound, word = (FLAT, 'flat') if axis == 'steps' else (LINEAR, 'linear')
      for key, exponent in entry['exponents'].items():
        verdict = 'met' if exponent <= bound else 'missed'
        lines.append(
            f'{size}: {key} over {NAMES[axis]} {word}: {verdict}, power of '
            f'{exponent:.4g}')
  return lines
