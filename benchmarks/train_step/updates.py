"""Whole updates of all contenders, for benchmarks.train_step."""

import math
import operator

from benchmarks import floor
from benchmarks.train_step import turns
from benchmarks.train_step.contender import ACTIONS, CONFIGS
from dreamerv2_base import flags

LOW = {'precision': 'bfloat16'}
# Kind of process, see contender.py, and settings of its own.
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
# Contenders of size paper by default, and how many fit into memory side by
# side, floors aside.
FEWER = 'official', 'dreamerv2', 'dreamerv2-bfloat16', 'target-cached'
PLACES = {'paper': 3}
DEFAULT_PLACES = 5
OURS = 'dreamerv2', 'dreamerv2-bfloat16', 'target-cached', 'source'
SIDES = {
    'at least': operator.ge, 'at most': operator.le, 'below': operator.lt}
# Size, contenders of which the best counts, key of their rows, the right side
# of the bound, the bound.
TARGETS = (
    ('small', ['dreamerv2', 'dreamerv2-unrolled'], 'speedup', 'at least', 1.3),
    ('dmc_vision', ['dreamerv2', 'dreamerv2-unrolled'], 'speedup',
     'at least', 1.8),
    ('dmc_vision', ['dreamerv2-bfloat16'], 'speedup', 'at least', 2.7),
    ('dmc_vision', ['target-cached'], 'plain', 'at most', 1.05),
    ('dmc_vision', ['source'], 'plain', 'at most', 1.3),
    *(('dmc_vision', [name], key, side, bound)
      for key, side, bound in (
          ('first', 'at most', 15), ('traces', 'at most', 1),
          ('memory', 'below', 1))
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
  """Lets the contenders update in turns, in groups that fit into memory.

  Those that others are compared with take part in several groups. Their rows
  are those of the first, ratios are always taken within a group.

  Args:
    size: name of the size.
    size_flags: arguments of train.py that make it.
    args: of the command line.

  Returns:
    Operations of an update by part, sequences' frames and rows by contender.
  """
  config = flags.parse(size_flags, CONFIGS)
  parts = floor.operations(config, *ACTIONS.shape)
  frames, rows = math.prod(config.dataset.values()), {}
  for group in groups(names(size, args), PLACES.get(size, DEFAULT_PLACES)):
    floors = dict.fromkeys(floor_of(name) for name in group)
    commands = {
        name: turns.command(kind, size_flags, settings)
        for name in [*group, *floors]
        for kind, settings in [{**CONTENDERS, **FLOORS}[name]]}
    found = turns.update_all(commands, args.rounds, args.updates, size)
    # Rows of earlier groups stay, and stay ahead.
    rows = {**rows, **judge(found, frames, floor.total(parts)), **rows}
  return {'frames': frames, 'operations': parts, 'rows': rows}


def names(size, args):
  """Returns the names of the contenders at a size."""
  return args.contenders or (FEWER if size == 'paper' else list(CONTENDERS))


def groups(chosen, places):
  """Divides contenders into groups with all that they are compared with.

  Args:
    chosen: names of contenders; comparisons are with these only.
    places: how many a group may have, if it is not for a single one.

  Returns:
    List of lists of names.
  """
  found = []
  for name in chosen:
    if any(name in group for group in found):
      continue
    needed = [x for x in ('official', plain_of(name)) if x in chosen]
    alone = dict.fromkeys([*needed, name])
    grown = {**found[-1], **alone} if found else alone
    if found and len(grown) <= places:
      found[-1] = grown
    else:
      found.append(alone)
  return [list(group) for group in found]


def merge(old, found, facts):
  """Returns what was found at a size with the rows of other contenders.

  Args:
    old: earlier results of the size, perhaps empty.
    found: from `measure`.
    facts: of this run, which go to each of its rows.
  """
  # With other operations, ratios to the floor would mean something else.
  same = old.get('operations') == found['operations']
  return {**found, 'rows': {
      **(old['rows'] if same else {}),
      **{name: {**row, 'run': facts} for name, row in found['rows'].items()}}}


def plain_of(name):
  """Returns the name of our agent alone in a contender's precision."""
  return 'dreamerv2' + '-bfloat16' * name.endswith('-bfloat16')


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
        first=entry['first'], traces=last['traces'])
    plain = plain_of(name)
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


def verdicts(results):
  """Returns a line for each target: met, missed or not measured.

  Args:
    results: {size: as from `measure`}.
  """
  lines = []
  for size, names, key, side, bound in TARGETS:
    rows = results.get(size, {}).get('rows', {})
    values = {
        name: rows[name][key] for name in names if key in rows.get(name, {})}
    target = f'{COLUMNS[key][0]} {side} {bound}'
    if not values:
      lines.append(f"{size}: {' or '.join(names)}: {target}: not measured")
      continue
    best = max if side == 'at least' else min
    name = best(values, key=values.get)
    verdict = 'met' if SIDES[side](values[name], bound) else 'missed'
    lines.append(
        f'{size}: {name}: {target}: {verdict}, {values[name]:.4g}')
  return lines
