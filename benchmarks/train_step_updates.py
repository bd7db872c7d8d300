"""Whole updates of all contenders, for benchmarks.train_step."""

import math

from benchmarks import floor, turns
from benchmarks.train_step_contender import ACTIONS, CONFIGS
from dreamerv2_base import flags

LOW = {'precision': 'bfloat16'}
# Kind of process, see train_step_contender, and settings of its own.
CONTENDERS = {
    'official': ('official', {}),
    'dreamerv2': ('dreamerv2', {}),
    'dreamerv2-unrolled': ('dreamerv2', {'unroll': 'True'}),
    'dreamerv2-xla': ('dreamerv2', {'compile': 'xla'}),
    'target': ('target', {}),
    'target-cached': ('target_cached', {}),
    'source': ('source', {}),
    'multi-step': ('multi_source', {'multi_source.reselect': 'step'}),
    'multi-round': ('multi_source', {'multi_source.reselect': 'round'}),
    'dreamerv2-bfloat16': ('dreamerv2', LOW),
    'target-bfloat16': ('target', LOW),
    'target-cached-bfloat16': ('target_cached', LOW),
    'source-bfloat16': ('source', LOW)}
FLOORS = {'floor': ('floor', {}), 'floor-bfloat16': ('floor', LOW)}
# Those that fit into memory side by side at the largest size.
FEWER = 'official', 'dreamerv2', 'dreamerv2-bfloat16', 'target-cached'
OURS = 'dreamerv2', 'dreamerv2-bfloat16', 'target-cached', 'source'
# Size, contender, key of its row, the right side of its bound, the bound.
TARGETS = (
    ('small', 'dreamerv2', 'speedup', 'least', 1.3),
    ('dmc_vision', 'dreamerv2', 'speedup', 'least', 1.8),
    ('dmc_vision', 'dreamerv2-bfloat16', 'speedup', 'least', 2.7),
    ('dmc_vision', 'target-cached', 'plain', 'most', 1.05),
    ('dmc_vision', 'source', 'plain', 'most', 1.3),
    *(('dmc_vision', name, key, 'most', bound)
      for key, bound in (('first', 15), ('traces', 1), ('memory', 1))
      for name in OURS))
# Of a row: what it is, and how it is shown.
COLUMNS = {
    'cpu': ('CPU s / cores', '.3g'), 'wall': ('wall s', '.3g'),
    'frames_per_second': ('frames/s', ',.0f'),
    'speedup': ('official / this', '.2f'),
    'plain': ('this / dreamerv2', '.2f'),
    'floor': ('this / floor', '.2f'),
    'first': ('first update s', '.1f'), 'traces': ('traces', 'd'),
    'peak_mb': ('peak MB', ',d'), 'memory': ('peak MB / official', '.2f')}


def measure(size, size_flags, args):
  """Lets the contenders update in turns.

  Args:
    size: name of the size.
    size_flags: arguments of train.py that make it.
    args: of the command line.

  Returns:
    Operations of an update by part, sequences' frames and rows by contender.
  """
  names = args.contenders or (FEWER if size == 'paper' else CONTENDERS)
  chosen = {name: CONTENDERS[name] for name in names}
  for name, contender in FLOORS.items():
    if any(floor_of(other) == name for other in names):
      chosen[name] = contender
  commands = {
      name: turns.command(kind, size_flags, settings)
      for name, (kind, settings) in chosen.items()}
  config = flags.parse(size_flags, CONFIGS)
  parts = floor.operations(config, *ACTIONS.shape)
  frames = math.prod(config.dataset.values())
  found = turns.update_all(commands, args.rounds, args.updates, size)
  return {
      'frames': frames, 'operations': parts,
      'rows': judge(found, frames, floor.total(parts))}


def floor_of(name):
  """Returns the name of the floor that a contender is compared with."""
  return 'floor' + '-bfloat16' * name.endswith('-bfloat16')


def judge(found, frames, operations):
  """Returns {contender: row}, see COLUMNS; floors have a rate too.

  Args:
    found: from turns.update_all.
    frames: that an update learns from.
    operations: that it needs.
  """
  rows, threads = {}, turns.threads()
  for name, entry in found.items():
    wall, last = turns.median(entry, 'wall'), entry['rounds'][-1]
    seconds = turns.median(entry, 'cpu') / threads
    row = rows[name] = {
        'cpu': round(seconds, 5), 'wall': round(wall, 5),
        'peak_mb': last['peak_mb']}
    if name in FLOORS:
      row['gflops'] = round(operations / seconds / 1e9)
      continue
    row.update(
        frames_per_second=round(frames / wall, 1),
        first=round(entry['first'], 2), traces=last['traces'])
    plain = 'dreamerv2' + '-bfloat16' * name.endswith('-bfloat16')
    row['floor'] = turns.ratio(entry, found[floor_of(name)])
    if plain in found:
      row['plain'] = turns.ratio(entry, found[plain])
    if 'official' in found:
      theirs = found['official']
      row['speedup'] = turns.ratio(theirs, entry)
      row['memory'] = turns.ratio(entry, theirs, 'peak_mb')
  return rows


def table(size, found):
  """Returns the rows as a Markdown table, the floor above it."""
  rates = [
      f"{rows['gflops']} GFLOP/s {text} give {rows['cpu']:.3g} s"
      for name, text in (
          ('floor', 'in float32'), ('floor-bfloat16', 'in bfloat16'))
      for rows in [found['rows'].get(name)] if rows]
  needed = floor.total(found['operations']) / 1e9
  lines = [
      f'Size {size}: {needed:,.3g} GFLOP for {found["frames"]:,} frames; '
      + ', '.join(rates) + '.', '',
      '| | ' + ' | '.join(text for text, _ in COLUMNS.values()) + ' |',
      '|---' * (1 + len(COLUMNS)) + '|']
  for name, row in found['rows'].items():
    if name not in FLOORS:
      cells = [
          format(row[key], form) if key in row else ''
          for key, (_, form) in COLUMNS.items()]
      lines.append(f'| {name} | {" | ".join(cells)} |')
  return '\n'.join(lines)


def misses(size, found):
  """Returns a line for each target that is missed."""
  lines = []
  for where, name, key, side, bound in TARGETS:
    value = found['rows'].get(name, {}).get(key)
    if where != size or value is None:
      continue
    if value < bound if side == 'least' else value > bound:
      lines.append(
          f'{size}: {name}: {COLUMNS[key][0]} is {value}, not at {side} '
          f'{bound}')
  return lines
