"""A comparison as CSV files, Markdown and lines of text."""

import csv
import textwrap

from coworld_tf.analysis import aggregates, comparison
from dreamerv2_base import files

EPISODES, CELLS, AGGREGATES = 'episodes.csv', 'cells.csv', 'aggregates.csv'
NONE = '–'
DEFINITIONS = (
    'A score is the mean of the seeds’ mean returns, with the standard '
    'deviation over seeds (n − 1); the pooled deviation is that over all '
    'episodes.',
    f'Intervals hold {aggregates.LEVEL:.0%} of {aggregates.RESAMPLES} '
    'bootstrap resamples of the seeds, drawn within each pair. Methods are '
    'not separated where their intervals overlap.',
    'Aggregates are over normalized returns, (R − random) / (best − random), '
    'never over raw ones; the interquartile mean leaves out the lowest and '
    'the highest quarter of the scores of all pairs, a quarter being rounded '
    'down: with fewer than four scores nothing is left out.',
    'The probability of improvement is the share of pairs of runs in which '
    'the reference wins, averaged over pairs of tasks.',
    'The paper’s numbers are at the paper’s scale: its training length, '
    'networks, datasets and episodes, so only their order says something '
    'about ours. They are cells of its tables, never its printed averages.')


def number(value, digits=1):
  """A number as text, a dash for None."""
  if value is None:
    return NONE
  return f'{value:.{digits if abs(value) < 1000 else 0}f}'


def spread(mean, std, digits=1):
  """Mean and deviation as text."""
  return f'{number(mean, digits)} ± {number(std, digits)}'


def bounds(interval, digits=1):
  """An interval as text."""
  return ' to '.join(number(x, digits) for x in interval)


def seeds(cell):
  """Number of seeds and episodes of a cell as text."""
  count = len(cell.runs)
  return f'{count} seed{"s" * (count > 1)}, {cell.episodes} episodes'


def cell_facts(found, method, column):
  """What is known of a cell beside its score.

  Returns:
    List of texts, empty where there is nothing to say; the last is the paper's
    score.
  """
  cell = found.cells[method, column]
  theirs = found.paper.get((method, column))
  return [
      f'pooled ± {number(cell.pooled_std)}', seeds(cell),
      f'interval {bounds(cell.interval)}' if cell.interval else '',
      '' if cell.success is None else f'{cell.success:.0%} successful',
      found.separation(method, column),
      f'paper, at its scale: {spread(**theirs, digits=0)}' if theirs else '']


def aggregate_rows(found):
  """Aggregates as rows, the names of the columns first; None if unknown.

  Args:
    found: comparison.Comparison.
  """
  rows = [(
      'method', 'pairs', 'iqm', 'iqm_low', 'iqm_high', 'mean', 'mean_low',
      'mean_high', 'optimality_gap', 'optimality_gap_low',
      'optimality_gap_high', 'improvement', 'improvement_low',
      'improvement_high', 'against_reference')]
  for method in found.methods:
    entries = [found.aggregate(method, statistic) for statistic in (
        aggregates.iqm, aggregates.mean, aggregates.optimality_gap)]
    other = method != found.reference
    entries.append(found.improvement(method) if other else None)
    rows.append((method, len(found.scored(method)), *(
        value for entry in entries for value in (
            entry and entry.value, *(entry and entry.interval or (None,) * 2))
    ), _verdict(found, method, entries[0])))
  return rows


def aggregate_texts(found):
  """Aggregates as rows of text, intervals in parentheses."""
  rows = [(
      'method', 'pairs', 'IQM', 'mean', 'optimality gap',
      f'P({found.reference} is better)', f'IQM against {found.reference}')]
  for method, pairs, *values, verdict in aggregate_rows(found)[1:]:
    row = [method, str(pairs)]
    for value, low, high in zip(values[::3], values[1::3], values[2::3]):
      inside = '' if low is None else f' ({bounds((low, high), 2)})'
      row.append(number(value, 2) + inside)
    rows.append((*row, verdict))
  return rows


def write_csv(found, folder):
  """Writes all episodes, cells and aggregates; full precision, None empty."""
  episodes = [('method', 'pair', 'seed', 'episode', 'return', 'success')]
  cells = [(
      'method', 'pair', 'source', 'target', 'dataset', 'mean', 'std',
      'pooled_std', 'low', 'high', 'seeds', 'episodes', 'success',
      'dataset_mean', 'random_mean', 'against_reference', 'paper_mean',
      'paper_std')]
  for (method, column), cell in found.cells.items():
    pair, facts = found.columns[column], found.facts[column]
    theirs = found.paper.get((method, column), {})
    cells.append((
        method, pair, *column, cell.mean, cell.std, cell.pooled_std,
        *(cell.interval or (None, None)), ' '.join(map(str, cell.seeds)),
        cell.episodes, cell.success, facts.dataset, facts.random,
        found.separation(method, column), theirs.get('mean'),
        theirs.get('std')))
    for run in cell.runs:
      successes = run.successes or [None] * len(run.returns)
      episodes += [
          (method, pair, run.seed, index, value, success)
          for index, (value, success) in enumerate(
              zip(run.returns, successes, strict=True))]
  for name, rows in (
      (EPISODES, episodes), (CELLS, cells),
      (AGGREGATES, aggregate_rows(found))):
    with files.replacing(folder / name) as temporary:
      with temporary.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows(rows)


def markdown(found, figures, remarks):
  """The comparison as Markdown.

  Args:
    found: comparison.Comparison.
    figures: {title: file name}.
    remarks: {title: lines} of what to know first.
  """
  lines = ['# Comparison', '']
  for title, entries in remarks.items():
    lines += [f'**{title}**', '', *(f'- {_plain(x)}' for x in entries), '']
  lines += ['## Returns', '']
  names = list(found.columns.values())
  lines += _table([('method', *names), *(
      (name, *(number(getattr(found.facts[x], key)) for x in found.columns))
      for name, key in (('random policy', 'random'), ('dataset', 'dataset'))
  ), *((method, *(_cell(found, method, x) for x in found.columns))
       for method in found.methods)])
  lines += ['', '## Aggregates', '', *_table(aggregate_texts(found)), '']
  for title, name in figures.items():
    lines += [f'![{title}]({name})', '']
  lines += ['## Definitions', '', *(f'- {x}' for x in DEFINITIONS)]
  return '\n'.join(lines) + '\n'


def text(found):
  """Scores as lines of text for a terminal."""
  rows = [('', *found.columns.values())]
  for name, key in (('random policy', 'random'), ('dataset', 'dataset')):
    rows.append((name, *(
        number(getattr(found.facts[x], key)) for x in found.columns)))
  for method in found.methods:
    cells = [found.cells.get((method, x)) for x in found.columns]
    rows.append((method, *(
        f'{spread(x.mean, x.std)} ({len(x.runs)})' if x else NONE
        for x in cells)))
  widths = [max(map(len, column)) for column in list(zip(*rows))[1:]]
  lines = []
  for label, *values in rows:
    *above, last = textwrap.wrap(label, 40) or ['']
    lines += [*above, '  '.join([last.ljust(40), *(
        x.rjust(width) for x, width in zip(values, widths))])]
  return '\n'.join([*lines, 'mean ± deviation over seeds (number of seeds)'])


def _verdict(found, method, entry):
  base = found.aggregate(found.reference, aggregates.iqm)
  if method == found.reference or not (entry and base):
    return ''
  if found.scored(method) != found.scored(found.reference):
    return 'other pairs'
  return comparison.separation(entry, base)


def _cell(found, method, column):
  cell = found.cells.get((method, column))
  if not cell:
    return NONE
  score = f'**{spread(cell.mean, cell.std)}**'
  return '<br>'.join(
      x for x in (score, *cell_facts(found, method, column)) if x)


def _table(rows):
  lines = ['| ' + ' | '.join(map(_plain, row)) + ' |' for row in rows]
  return [lines[0], '|' + '---|' * len(rows[0]), *lines[1:]]


def _plain(value):
  """Text of a file's or user's that must not break the page."""
  return value.replace('|', r'\|').replace('\n', ' ')
