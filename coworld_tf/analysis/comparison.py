"""Cells, references and aggregates of a comparison of runs."""

import dataclasses
import typing

import numpy as np

from coworld_tf.analysis import aggregates, paper

# The order of the rows; others follow by name.
METHODS = (
    'dreamerv2_offline', 'offline_dv2', 'dv2_finetune', 'dv2_finetune_ewc',
    'coworld', 'multi_source', 'dreamerv2')
REFERENCE = 'coworld'
# Frames of an episode of the DeepMind Control Suite, and also its highest
# return, because rewards are at most 1.
DMC_FRAMES = 1000


class Column(typing.NamedTuple):
  """A pair of tasks, or a target alone, with a kind of dataset."""
  source: str
  target: str
  data: str

  def holds(self, run):
    """Whether a run stands in this column.

    One without a source stands in all columns of its target.
    """
    return (
        run.target == self.target and run.source in ('', self.source)
        and run.data in ('', self.data))


@dataclasses.dataclass(frozen=True)
class Cell:
  """The runs of one method on one pair, one for each seed."""
  runs: list

  @property
  def scores(self):
    """Mean return of each seed."""
    return np.array([run.mean for run in self.runs])

  @property
  def mean(self):
    """Mean of the means of the seeds."""
    return float(self.scores.mean())

  @property
  def std(self):
    """Standard deviation over seeds (n - 1), None for one seed."""
    return float(self.scores.std(ddof=1)) if len(self.runs) > 1 else None

  @property
  def pooled_std(self):
    """Standard deviation (n - 1) over the episodes of all seeds."""
    returns = np.concatenate([run.returns for run in self.runs])
    return float(returns.std(ddof=1)) if len(returns) > 1 else None

  @property
  def seeds(self):
    """Seeds in ascending order."""
    return [run.seed for run in self.runs]

  @property
  def episodes(self):
    """Number of episodes of all seeds."""
    return sum(len(run.returns) for run in self.runs)

  @property
  def success(self):
    """Mean over seeds of the share of successful episodes, None if unknown."""
    shares = [np.mean(run.successes) for run in self.runs if run.successes]
    return float(np.mean(shares)) if shares else None

  @property
  def interval(self):
    """Bootstrap interval of the mean, None for one seed."""
    return _aggregate(aggregates.mean, [self.scores]).interval


class Facts(typing.NamedTuple):
  """What the returns of a column can be measured against; None if unknown."""
  dataset: float | None
  random: float | None
  best: float | None
  origin: str  # Of `best`, or why there is none.

  def normalized(self, scores):
    """Scores on the scale from the random policy, 0, to the best, 1."""
    return (scores - self.random) / (self.best - self.random)


class Aggregate(typing.NamedTuple):
  """A statistic with its interval, None with a single seed anywhere."""
  value: float
  interval: tuple | None


@dataclasses.dataclass(frozen=True)
class Comparison:
  """All that a comparison shows.

  Attributes:
    unfinished: directories of runs that are left out.
    columns: {Column: label}.
    methods: labels of the methods.
    cells: {(method, column): Cell}.
    facts: {column: Facts}.
    paper: {(method, column): {'mean', 'std'}} where the paper has a score.
    reference: the method that others are compared with.
  """
  unfinished: list
  columns: dict
  methods: list
  cells: dict
  facts: dict
  paper: dict
  reference: str

  @property
  def runs(self):
    """All runs, once each."""
    return list(dict.fromkeys(
        run for cell in self.cells.values() for run in cell.runs))

  def separation(self, method, column):
    """How a cell lies to that of the reference, '' without both."""
    cell = self.cells.get((method, column))
    other = self.cells.get((self.reference, column))
    if method == self.reference or not (cell and other):
      return ''
    return separation(cell, other)

  def scored(self, method):
    """Columns in which a method has normalized scores."""
    return [
        column for column in self.columns if (method, column) in self.cells
        and self.facts[column].best is not None]

  def aggregate(self, method, statistic):
    """Aggregate of a method's normalized scores, None if there are none."""
    scores = [
        self.facts[column].normalized(self.cells[method, column].scores)
        for column in self.scored(method)]
    return _aggregate(statistic, scores) if scores else None

  def shared(self, method):
    """Columns in which both a method and the reference have runs."""
    return [
        column for column in self.columns if (method, column) in self.cells
        and (self.reference, column) in self.cells]

  def improvement(self, method):
    """Probability that the reference is better; None without a column."""
    groups = [
        [self.cells[name, column].scores for column in self.shared(method)]
        for name in (self.reference, method)]
    return _aggregate(aggregates.improvement, *groups) if groups[0] else None


def separation(first, second):
  """How the interval of one aggregate or cell lies to another's, in words."""
  if not (first.interval and second.interval):
    return 'one seed, no interval to compare'
  if aggregates.overlap(first.interval, second.interval):
    return 'not separated'
  above = first.interval[0] > second.interval[1]
  return f'{"above" if above else "below"} the reference'


def compare(found, reference=None):
  """Arranges runs in cells.

  Args:
    found: runs.Found.
    reference: label of the method that the others are compared with, by
      default coworld, or else the last.

  Raises:
    ValueError: two runs have the same method, pair and seed, or there is no
      run of the reference.
  """
  columns = _columns(found.runs)
  methods = sorted({run.label for run in found.runs}, key=_rank)
  if reference not in (None, *methods):
    raise ValueError(
        f"no run of '{reference}', the methods are: {'; '.join(methods)}")
  usual = [x for x in methods if x.split(', ')[0] == REFERENCE]
  cells = {}
  for method in methods:
    for column in columns:
      inside = [
          run for run in found.runs
          if run.label == method and column.holds(run)]
      if inside:
        cells[method, column] = _cell(inside, columns[column])
  results = paper.load()
  scores = {
      (method, column): paper.cell(results, method, *column)
      for method, column in cells}
  return Comparison(
      found.unfinished, columns, methods, cells,
      {column: _facts([x for x in found.runs if column.holds(x)], column)
       for column in columns},
      {key: entry for key, entry in scores.items() if entry},
      reference or [*usual, methods[-1]][0])


def _columns(found):
  """{Column: label} in the order of the paper's tables."""
  every = {Column(run.source, run.target, run.data) for run in found}
  finer = lambda column, other: column != other and (
      other.target == column.target
      and column.source in ('', other.source)
      and column.data in ('', other.data))
  every = [
      column for column in every
      if not any(finer(column, other) for other in every)]
  order = {label: index for index, label in enumerate(paper.order())}
  names = {x: paper.label(x.source, x.target) for x in every}
  every.sort(key=lambda x: (order.get(names[x], len(order)), names[x], x))
  labels = list(names.values())
  return {
      x: names[x] if labels.count(names[x]) == 1
      else f'{names[x]} ({x.data or "unknown data"})' for x in every}


def _rank(label):
  method = label.split(', ')[0]
  known = method in METHODS
  return METHODS.index(method) if known else len(METHODS), label


def _cell(inside, name):
  by_seed = {}
  for run in inside:
    if run.seed in by_seed:
      raise ValueError(
          f'{by_seed[run.seed].path} and {run.path} are both {run.label}, '
          f'{name}, seed {run.seed}; give one of them')
    by_seed[run.seed] = run
  return Cell([by_seed[seed] for seed in sorted(by_seed)])


def _facts(inside, column):
  datasets = [
      run.references['dataset']['mean'] for run in inside
      if 'dataset' in run.references]
  # Equal seeds give equal random episodes, whatever the method.
  randoms = {
      run.seed: run.references['random']['mean'] for run in inside
      if 'random' in run.references}
  random = float(np.mean(list(randoms.values()))) if randoms else None
  best, origin = _best(inside, column)
  if random is None:
    best, origin = None, 'no run has evaluated the random policy'
  elif best is not None and best <= random:
    best, origin = None, f'{origin} is not above the random policy'
  return Facts(datasets[0] if datasets else None, random, best, origin)


def _best(inside, column):
  """(the return that counts as 1, where it is from)."""
  highest = [run.facts['s_max'] for run in inside if 's_max' in run.facts]
  if highest:
    return max(highest), 'S_max, the best score of the agent behind the data'
  if column.target.startswith('dmc_'):
    frames = {
        run.config['time_limit'] * run.config['action_repeat'] or DMC_FRAMES
        for run in inside}
    return float(min(max(frames), DMC_FRAMES)), 'the highest possible return'
  return None, 'no dataset with an S_max is left and no bound is known'


def _aggregate(statistic, *groups):
  single = any(len(x) < 2 for scores in groups for x in scores)
  return Aggregate(
      float(statistic(*groups)),
      None if single else aggregates.interval(statistic, *groups))
