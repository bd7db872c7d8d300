"""Statistics of scores over several tasks, with bootstrap intervals.

Scores are a list with one array [..., N] for each task, N runs of one method
on it; leading axes, such as resamples, are kept. Definitions are those of
Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice".
"""

import math

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def mean(scores):
  """Mean over tasks of the mean over runs."""
  return np.mean([x.mean(-1) for x in scores], 0)


def iqm(scores):
  """Interquartile mean: of the middle half of the scores of all tasks.

  A quarter of the scores, rounded down, is dropped at both ends.
  """
  ordered = np.sort(np.concatenate(scores, -1), -1)
  cut = ordered.shape[-1] // 4
  return ordered[..., cut:ordered.shape[-1] - cut].mean(-1)


def optimality_gap(scores, best=1.0):
  """By how much scores fall short of `best`, those above it by nothing."""
  return best - mean([np.minimum(x, best) for x in scores])


def improvement(scores, others):
  """Probability that a run has a higher score than a run of `others`.

  The mean over tasks of the share of pairs of runs that are won; ties are
  half won. Tasks may differ in scale.
  """
  return np.mean([_share_won(x, y) for x, y in zip(
      scores, others, strict=True)], 0)


def interval(statistic, *groups, seed=0, resamples=RESAMPLES, level=LEVEL):
  """Percentile interval of the stratified bootstrap.

  Runs are drawn with replacement within each task and each group, as many as
  there are. The order of the runs does not matter.

  Args:
    statistic: function of as many lists of scores as there are groups.
    *groups: lists of scores, an array [N] for each task.
    seed: of the resampling.
    resamples: how often to resample.
    level: probability of the interval.

  Returns:
    Lower and upper end, floats.
  """
  rng = np.random.default_rng(seed)
  drawn = [[_resample(x, rng, resamples) for x in scores] for scores in groups]
  tail = 50 * (1 - level)
  return tuple(np.percentile(statistic(*drawn), [tail, 100 - tail]).tolist())


def distinct_resamples(count):
  """How many different resamples `count` runs of one task have."""
  return math.comb(2 * count - 1, count)


def overlap(first, second):
  """Whether two closed intervals (low, high) have a value in common."""
  return first[0] <= second[1] and second[0] <= first[1]


def _share_won(scores, others):
  difference = scores[..., :, None] - others[..., None, :]
  return (0.5 + 0.5 * np.sign(difference)).mean((-2, -1))


def _resample(scores, rng, count):
  ordered = np.sort(np.asarray(scores, np.float64))
  return ordered[rng.integers(0, len(ordered), (count, len(ordered)))]
