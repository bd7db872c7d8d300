"""Aggregates of scores against values by hand and independent formulas."""

import itertools

import numpy as np
import pytest

from coworld_tf.analysis import aggregates


def random_scores(seed, counts=(3, 3, 5)):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=count) for count in counts]


def test_values_by_hand():
  scores = [np.array([0.0, 1.0, 2.0, 9.0]), np.array([4.0, 3.0, 5.0, 100.0])]
  assert aggregates.iqm(scores) == (2 + 3 + 4 + 5) / 4
  assert aggregates.mean(scores) == (3 + 28) / 2
  # 1, 0, 0, 0 and nothing.
  assert aggregates.optimality_gap(scores) == 0.125
  assert aggregates.optimality_gap(scores, 4.0) == pytest.approx(
      4 - ((0 + 1 + 2 + 4) / 4 + (4 + 3 + 4 + 4) / 4) / 2)


@pytest.mark.parametrize('count', range(1, 13))
def test_iqm_drops_whole_scores(count):
  scores = np.random.default_rng(count).normal(size=count)
  middle = sorted(scores)[int(0.25 * count):count - int(0.25 * count)]
  assert aggregates.iqm([scores]) == pytest.approx(
      sum(middle) / len(middle), rel=1e-12)


def test_improvement():
  assert aggregates.improvement(
      [np.array([1.0, 3.0])], [np.array([1.0, 2.0])]) == (0.5 + 0 + 1 + 1) / 4
  scores, others = random_scores(0), random_scores(1, (2, 4, 3))
  shares = [
      np.mean([x > y for x, y in itertools.product(a, b)])
      for a, b in zip(scores, others)]
  found = aggregates.improvement(scores, others)
  assert found == pytest.approx(np.mean(shares), rel=1e-12)
  assert aggregates.improvement(others, scores) == pytest.approx(1 - found)
  scaled = [1000 * np.exp(x) for x in scores], [
      1000 * np.exp(x) for x in others]
  assert aggregates.improvement(*scaled) == pytest.approx(found)


@pytest.mark.parametrize('statistic', [
    aggregates.mean, aggregates.iqm, aggregates.optimality_gap])
def test_leading_axes_are_kept(statistic):
  batches = [random_scores(seed) for seed in range(4)]
  stacked = [np.stack(x) for x in zip(*batches)]
  np.testing.assert_allclose(
      statistic(stacked), [statistic(x) for x in batches], rtol=1e-12)


def test_improvement_keeps_leading_axes():
  pairs = [(random_scores(s), random_scores(s + 9, (4, 2, 1)))
           for s in range(4)]
  stacked = [[np.stack(x) for x in zip(*group)] for group in zip(*pairs)]
  np.testing.assert_allclose(
      aggregates.improvement(*stacked),
      [aggregates.improvement(*pair) for pair in pairs], rtol=1e-12)


def test_interval_is_that_of_all_resamples():
  scores = np.array([1.0, 2.0, 6.0])
  means = np.array([np.mean(x) for x in itertools.product(scores, repeat=3)])
  low, high = aggregates.interval(
      aggregates.mean, [scores], resamples=40000)
  assert (low, high) == pytest.approx(
      np.percentile(means, [2.5, 97.5], method='inverted_cdf'), abs=1e-9)
  sums = {tuple(sorted(x)) for x in itertools.product(scores, repeat=3)}
  assert len(sums) == aggregates.distinct_resamples(3) == 10


def test_resampling_stays_within_tasks():
  # Between tasks alone there is no variation.
  scores = [np.full(3, 1.0), np.full(3, 5.0)]
  assert aggregates.interval(aggregates.mean, scores) == (3, 3)
  assert aggregates.interval(
      aggregates.improvement, scores, [x + 1 for x in scores]) == (0, 0)


def test_groups_are_resampled_independently():
  scores = [np.arange(6.0)]
  low, high = aggregates.interval(
      aggregates.improvement, scores, [x.copy() for x in scores])
  assert low < 0.35 and high > 0.65


def test_order_of_runs_does_not_matter():
  scores = random_scores(3)
  mixed = [np.random.default_rng(0).permutation(x) for x in scores]
  for statistic in (aggregates.mean, aggregates.iqm):
    assert statistic(mixed) == pytest.approx(statistic(scores), rel=1e-12)
    assert aggregates.interval(statistic, mixed) == aggregates.interval(
        statistic, scores)


def test_seed_decides():
  scores = random_scores(5)
  one, again, other = (
      aggregates.interval(aggregates.iqm, scores, seed=x) for x in (1, 1, 2))
  assert one == again != other


def test_coverage():
  rng = np.random.default_rng(0)
  def covered(count, trials=600):
    hits = 0
    for _ in range(trials):
      low, high = aggregates.interval(
          aggregates.mean, [rng.normal(size=count)], resamples=300)
      hits += low <= 0 <= high
    return hits / trials
  assert 0.90 < covered(40) < 0.97
  # What the page warns of.
  assert covered(3) < 0.8


def test_level():
  scores = random_scores(1, (20,))
  wide = aggregates.interval(aggregates.mean, scores)
  narrow = aggregates.interval(aggregates.mean, scores, level=0.5)
  assert wide[0] < narrow[0] < aggregates.mean(scores) < narrow[1] < wide[1]


@pytest.mark.parametrize('first, second, expected', [
    ((0, 1), (1, 2), True), ((0, 1), (1.1, 2), False),
    ((3, 4), (0, 2), False), ((0, 9), (3, 4), True), ((3, 4), (0, 9), True)])
def test_overlap(first, second, expected):
  assert aggregates.overlap(first, second) is expected
