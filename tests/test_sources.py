"""Several sources: which is chosen, when, and that the others rest."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import sources
from dreamerv2_base import agent

VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


@pytest.fixture(scope='module')
def make(make_config):
  """Builds a target of seed 0 and sources of the given seeds."""
  def build(override=None, seeds=(1, 2, 3)):
    config = make_config({'method': 'multi_source', **(override or {})})
    target, *agents = [
        agent.Agent(config, VECTOR, ACTIONS, seed) for seed in (0, *seeds)]
    return sources.MultiSource(config, agents, target, 10)
  return build


@pytest.fixture(scope='module')
def batches(make_batch):
  return [
      {key: tf.constant(x) for key, x in make_batch(seed=seed).items()}
      for seed in range(3)]


def oracle(learner, batches, reduce):
  """Distances of Eq. 12 in float64, in the mean over batches."""
  def log_softmax(x):
    x = x.numpy().astype('f8')
    return x - np.log(np.exp(x).sum(-1, keepdims=True))
  found = []
  for batch in batches:
    ours = log_softmax(learner.target.wm.encoder(batch))
    peers = [log_softmax(x.wm.encoder(batch)) for x in learner.sources]
    found.append([
        reduce((np.exp(x) * (x - ours)).sum(-1)) for x in peers])
  return np.mean(found, 0)


def values(module):
  return [x.numpy() for x in module.variables]


def unchanged(module, before):
  return all(map(np.array_equal, values(module), before))


@pytest.mark.parametrize('reduction, reduce', [
    ('time_sum', lambda kl: kl.sum(1).mean()), ('mean', np.mean)])
def test_nearest_source_is_selected(make, batches, reduction, reduce):
  learner = make({'align.reduction': reduction})
  expected = oracle(learner, batches, reduce)
  nearest = int(np.argmin(expected))
  learner.selected.assign((nearest + 1) % 3)
  for count in (1, 2):
    metrics = learner.select(iter(batches))
    assert learner.choices.numpy().tolist() == [
        count * (index == nearest) for index in range(3)]
  assert int(learner.selected) == nearest
  assert [metrics.pop(f'selected_{i}') for i in range(3)] == [
      i == nearest for i in range(3)]
  np.testing.assert_allclose(learner.last_distances, expected, 2e-5)
  np.testing.assert_array_equal(
      [metrics.pop(f'distance_{i}') for i in range(3)],
      learner.last_distances)
  assert not metrics


def test_lowest_index_wins_ties(make, batches):
  learner = make(seeds=(1, 0, 0))
  learner.select(batches)
  np.testing.assert_array_equal(learner.last_distances[1:], [0, 0])
  assert learner.selected == 1


@pytest.mark.parametrize('step', ['train_target_model', 'train_target'])
def test_each_step_learns_with_the_nearest(make, batches, step):
  learner = make({'multi_source.reselect': 'step'})
  for count, batch in enumerate(batches, 1):
    expected = oracle(learner, [batch], lambda kl: kl.sum(1).mean())
    nearest = int(np.argmin(expected))
    learner.selected.assign((nearest + 1) % 3)
    metrics = getattr(learner, step)(batch)
    assert int(learner.selected) == nearest
    assert metrics[f'selected_{nearest}'] == 1
    np.testing.assert_allclose(metrics['align_kl'], expected.min(), 2e-5)
    assert sum(learner.choices.numpy()) == count


@pytest.mark.parametrize('reselect, seeds', [
    ('round', (1, 2, 3)), ('once', (1, 2, 3)), ('step', (1,))])
def test_choice_stays_between_selections(make, batches, reselect, seeds):
  learner = make({'multi_source.reselect': reselect}, seeds)
  learner.selected.assign(len(seeds) - 1)
  metrics = {
      **learner.train_target_model(batches[0]),
      **learner.train_target(batches[1])}
  assert learner.selected == len(seeds) - 1
  assert not {'selected_0', 'distance_0'} & set(metrics)
  assert not learner.choices.numpy().any()


def test_sources_that_are_not_selected_rest(make, batches):
  learner = make()
  learner.selected.assign(1)
  before = [values(source) for source in learner.sources]
  target = values(learner.target)
  learner.train_source_aligned(*batches[:2])
  learner.aligned_steps.assign_add(5)
  rests = [
      unchanged(*pair)
      for pair in zip(learner.sources, before, strict=True)]
  assert rests == [True, False, True]
  assert unchanged(learner.target, target)
  assert [int(pair.aligned_steps) for pair in learner.pairs] == [0, 5, 0]
  before = [values(source) for source in learner.sources]
  learner.train_target(batches[0])
  assert all(map(unchanged, learner.sources, before))
  assert not unchanged(learner.target, target)


def test_only_the_selected_pair_is_traced(make, batches):
  graph, eager = [
      make({'compile': mode, 'multi_source.reselect': 'step'})
      for mode in ('graph', 'eager')]
  for _ in range(2):
    found, expected = [
        learner.train_target_model(batches[0]) for learner in (graph, eager)]
    assert set(found) == set(expected)
    for key, value in expected.items():
      np.testing.assert_allclose(found[key], value, 1e-4, 1e-6, err_msg=key)
  for one, other in zip(graph.variables, eager.variables, strict=True):
    np.testing.assert_allclose(one, other, 1e-4, 2e-6)
  traced = lambda function: function.experimental_get_tracing_count()
  assert traced(graph.distances) == 1
  for index, pair in enumerate(graph.pairs):
    assert traced(pair.train_target_model) == int(index == graph.selected)
    assert not traced(pair.train_target) + traced(pair.train_source_aligned)
