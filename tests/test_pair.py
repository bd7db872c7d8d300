"""The steps of the pair, with case C, eta inside compiled functions."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import pair
from dreamerv2_base import agent

VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
SEED = tf.constant([1, 2])


def space(size, used=None):
  bound = np.ones(size, np.float32)
  bound[used or size:] = 0
  return gymnasium.spaces.Box(-bound, bound)


@pytest.fixture(scope='module')
def make(make_config):
  def build(override=None, source=2, target=2, prefill=0, used=None):
    config = make_config(override)
    return pair.CoWorldPair(
        config, agent.Agent(config, VECTOR, space(source, used), 1),
        agent.Agent(config, VECTOR, space(target), 2), 10, prefill)
  return build


@pytest.fixture(scope='module')
def data(make_batch):
  """Source and target batches for given action sizes."""
  def build(source=2, target=2):
    batches = make_batch(source, seed=1), make_batch(target, seed=2)
    return [{key: tf.constant(x) for key, x in batch.items()}
            for batch in batches]
  return build


def run(couple, step, data):
  source, target = data
  inputs = {'source': [source], 'source_aligned': [source, target]}
  train = getattr(couple, f'train_{step}')
  metrics = train(*inputs.get(step, [target]))
  return {key: float(x) for key, x in metrics.items()}


def test_losses_of_the_target_step_add_up(make, data):
  plain = run(make({'coworld.alpha': 0, 'coworld.beta2': 0}), 'target', data())
  full = run(make({'coworld.alpha': 9, 'coworld.beta2': 3}), 'target', data())
  assert full['align_loss'] > 0 and abs(full['constraint_loss']) > 1e-3
  np.testing.assert_allclose(
      full['model_loss'] - plain['model_loss'], full['align_loss'], 1e-2)
  # Align moves the model first, so the imagined values differ slightly.
  np.testing.assert_allclose(
      full['critic_loss'] - plain['critic_loss'], full['constraint_loss'],
      0.05)


def test_losses_of_the_aligned_step_add_up(make, data):
  couple = make({'loss_scales.reward': 4.0})
  couple.aligned_steps.assign(5)
  metrics = run(couple, 'source_aligned', data())
  np.testing.assert_allclose(metrics['eta'], 0.55, 2e-5)
  reward = 0.55 * metrics['reward_loss'] + 0.45 * metrics['relabel_loss']
  np.testing.assert_allclose(
      metrics['model_loss'],
      metrics['kl_loss'] + metrics['vector_loss'] + 4 * reward, 2e-5)


MOVES = {'linear': [1, 0.55, 0.1, 0.1], 'code_intended': [1, 0.9, 0.2, 0.2]}


@pytest.mark.parametrize('mode, prefill, expected', [
    ('linear', 5000, MOVES['linear']),
    ('code_intended', 5000, MOVES['code_intended']),
    ('code_frozen', 5000, [0.975] * 4), ('code_frozen', 2500, [0.9875] * 4)])
def test_eta_inside_a_compiled_function(make, mode, prefill, expected):
  couple = make({'eta.mode': mode}, prefill=prefill)
  eta, values = tf.function(couple.eta), []
  for aligned, step in [(0, 0), (5, 2e4), (10, 1.6e5), (99, 1e6)]:
    couple.aligned_steps.assign(aligned)
    couple.source.step.assign(int(step))
    values.append(float(eta()))
  np.testing.assert_allclose(values, expected, 2e-5)


def test_eta_moves_with_the_compiled_step(make, data):
  couple, values = make({'compile': 'graph'}), []
  for aligned in (0, 5, 10):
    couple.aligned_steps.assign(aligned)
    values.append(run(couple, 'source_aligned', data())['eta'])
  np.testing.assert_allclose(values, [1, 0.55, 0.1], 2e-5)
  function = couple.train_source_aligned
  assert function.experimental_get_tracing_count() == 1


def close(one, two):
  for left, right in zip(one.variables, two.variables, strict=True):
    np.testing.assert_allclose(left, right, 1e-4, 2e-6)


def test_target_may_start_from_the_source(make):
  couple = make()
  couple.hand_over()
  close(couple.source.wm, couple.target.wm)
  close(couple.source, make().source)
  for key in ('actor', 'critic'):
    ours, peer = [
        getattr(x.ac, key).variables for x in (couple.target, couple.source)]
    assert any(np.any(x != y) for x, y in zip(ours, peer, strict=True))


def test_sizes_must_agree_to_start_from_the_source(make):
  override = {'coworld.target_init': 'from_source'}
  make(override)
  with pytest.raises(ValueError, match='target_init: from_source'):
    make(override, source=3)


@pytest.mark.parametrize('mode, source, target, seen', [
    ('pad_max', 3, 3, [0, 1, 2]), ('pad_max', 3, 2, [0, 1]),
    ('slice', 2, 3, [0, 1]), ('slice', 3, 2, [0, 1]),
    ('zero', 2, 3, []), ('semantic', 2, 4, [0, 3])])
def test_source_takes_target_actions(make, data, mode, source, target, seen):
  couple = make(
      {'coworld.action_adapter': mode, 'coworld.semantic_index': [0, 3]},
      source, target, used=2)
  source_batch, batch = data(source, target)
  metrics = run(couple, 'source_aligned', (source_batch, batch))
  assert np.isfinite(metrics['relabel_loss'])
  run(couple, 'target', (source_batch, batch))
  loss, _ = couple.relabel(batch, SEED)
  for index in range(target):
    shift = 9 * tf.one_hot(index, target)
    other, _ = couple.relabel(
        {**batch, 'action': batch['action'] + shift}, SEED)
    assert (abs(float(loss - other)) > 1e-6) == (index in seen)


def test_agents_must_fit_together(make, make_config):
  with pytest.raises(ValueError, match="eta.mode: 'constant'"):
    make({'eta.mode': 'constant'})
  config = make_config()
  source = agent.Agent(config, VECTOR, space(2))
  target = agent.Agent(make_config({'rssm.deter': 4}), VECTOR, space(2))
  with pytest.raises(ValueError, match='embedding and feature'):
    pair.CoWorldPair(config, source, target, 10)
