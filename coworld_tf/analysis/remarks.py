"""What a reader must know before believing a comparison."""

import collections

from coworld_tf.analysis import aggregates, variants

ENOUGH = 5  # Seeds from which on the bootstrap is not called narrow.


def remarks(found):
  """Everything to say about a comparison, {title: lines}, none of it empty.

  Args:
    found: comparison.Comparison.
  """
  every = {
      'Missing seeds': _missing(found),
      'Unequal training': _training(found),
      'Unequal evaluation': _unequal(found),
      'Unequal datasets': _datasets(found),
      'Poor datasets': _poor(found),
      'Unfinished runs': [f'left out: {x}' for x in found.unfinished],
      'Few seeds': _few(found),
      'Aggregates': _aggregates(found),
      'Source of the scores': _origins(found)}
  return {title: lines for title, lines in every.items() if lines}


def configuration(found, column):
  """Settings in which the methods of a column differ.

  Returns:
    {key: {method: value}}; several values of a method are joined.
  """
  inside = _inside(found, column)
  keys = [x for x in variants.differences(inside) if x not in variants.FREE]
  table = {key: collections.defaultdict(list) for key in keys}
  for key, row in table.items():
    for run in inside:
      value = str(run.config.get(key, 'unknown'))
      if value not in row[run.label]:
        row[run.label].append(value)
  return {
      key: {method: ' / '.join(values) for method, values in row.items()}
      for key, row in table.items()}


def _inside(found, column):
  return [
      run for method in found.methods if (method, column) in found.cells
      for run in found.cells[method, column].runs]


def _missing(found):
  lines = []
  for method in found.methods:
    absent = [
        name for column, name in found.columns.items()
        if (method, column) not in found.cells]
    if absent:
      lines.append(f'{method}: no run on {", ".join(absent)}')
    for column, name in found.columns.items():
      seeds = {run.seed for run in _inside(found, column)}
      cell = found.cells.get((method, column))
      lacking = sorted(seeds - set(cell.seeds)) if cell else []
      if lacking:
        lines.append(f'{method}: no {_numbers("seed", lacking)} on {name}')
  return lines


def _training(found):
  lines = []
  for column, name in found.columns.items():
    lines += _unlike(f'{name}: ', {
        run: {'updates on target data': run.spent['target_updates']}
        for run in _inside(found, column) if 'target_updates' in run.spent})
  return lines


def _unequal(found):
  lines = []
  for column, name in found.columns.items():
    inside = _inside(found, column)
    lines += _unlike(f'{name}: ', {run: run.settings for run in inside})
    values = _by_value({run: run.origin for run in inside})
    if len(values) > 1:
      lines.append(f'{name}: scores of {_spread(values)}')
  return lines


def _datasets(found):
  lines = []
  for column, name in found.columns.items():
    inside = [x for x in _inside(found, column) if 'dataset' in x.references]
    values = _by_value({
        run: '{episodes} episodes of mean {mean:.6g}'.format(
            **run.references['dataset']) for run in inside})
    if len(values) > 1:
      lines.append(f'{name}: {_spread(values)}')
    lines += _unlike(
        f'{name}: metadata of the dataset: ',
        {run: run.dataset for run in inside if run.dataset})
    gone = [run for run in inside if not run.dataset]
    if gone:
      lines.append(
          f'{name}: no metadata left of the dataset of {_who(gone)}, so only '
          'its episodes and mean return are compared')
  return lines


def _poor(found):
  return [
      f'{name}: the mean return of the dataset, {facts.dataset:.4g}, is not '
      f'above that of the random policy, {facts.random:.4g}'
      for column, name in found.columns.items()
      for facts in [found.facts[column]]
      if None not in facts[:2] and facts.dataset <= facts.random]


def _few(found):
  counts = {len(cell.runs) for cell in found.cells.values()}
  few = [
      f'{aggregates.distinct_resamples(count)} distinct resamples of {count} '
      'seeds' for count in sorted(counts) if 1 < count < ENOUGH]
  lines = []
  if 1 in counts:
    lines.append(
        'A single seed has neither a deviation nor an interval; aggregates '
        'over pairs of which one has a single seed have no interval either.')
  if few:
    lines.append(
        f'There are only {" and ".join(few)}, so that bootstrap intervals '
        'are too narrow.')
  return lines


def _aggregates(found):
  lines = []
  for column, name in found.columns.items():
    facts = found.facts[column]
    lines.append(
        f'{name}: left out, {facts.origin}' if facts.best is None else
        f'{name}: 0 is the random policy, {facts.random:.4g}; 1 is '
        f'{facts.best:.4g}, {facts.origin}')
  total = max(len(found.scored(method)) for method in found.methods)
  for method in found.methods:
    count = len(found.scored(method))
    if 0 < count < total:
      lines.append(
          f'{method}: only {count} of {total} pairs, not comparable with the '
          'others')
  places = collections.Counter(
      run for cell in found.cells.values() for run in cell.runs)
  repeated = dict.fromkeys(
      run.label for run, count in places.items() if count > 1)
  if repeated:
    lines.append(
        f'{"; ".join(repeated)}: the same runs in several pairs, so that '
        'the intervals are too narrow.')
  return lines


def _origins(found):
  texts = {
      'evaluate': 'python -m coworld_tf.evaluate',
      'training': 'the last evaluation of the training'}
  values = _by_value({run: texts[run.origin] for run in found.runs})
  return [
      f'{text}: {len(group)} of {len(found.runs)} runs'
      for text, group in values.items()] + [
          run.aside for run in found.runs if run.aside]


def _unlike(start, entries):
  """A line for each key in which the mappings of runs that have it differ."""
  lines = []
  for key in dict.fromkeys(key for entry in entries.values() for key in entry):
    values = _by_value({
        run: entry[key] for run, entry in entries.items() if key in entry})
    if len(values) > 1:
      brief = max(map(len, values)) < 40
      lines.append(f'{start}{key} {_spread(values) if brief else "differ"}')
  return lines


def _by_value(entries):
  """{value as text: runs} of {run: value}."""
  values = collections.defaultdict(list)
  for run, value in entries.items():
    values[str(value)].append(run)
  return values


def _spread(values):
  return '; '.join(f'{x or "(none)"} in {_who(y)}' for x, y in values.items())


def _who(group):
  """Methods and seeds of runs: 'coworld (seeds 0, 1)'."""
  seeds = collections.defaultdict(list)
  for run in group:
    seeds[run.label].append(run.seed)
  return ', '.join(
      f'{label} ({_numbers("seed", sorted(numbers))})'
      for label, numbers in seeds.items())


def _numbers(noun, numbers):
  return f'{noun}{"s" * (len(numbers) > 1)} {", ".join(map(str, numbers))}'
