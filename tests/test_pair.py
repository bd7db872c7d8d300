import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import pair
from dreamerv2_base import agent

VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
MODEL = {'encoder', 'rssm', 'decoder', 'reward'}
BEHAVIOR = {'actor', 'critic', 'slow_critic'}
STEPS = {  # What each step updates, as in the table of losses.
    'source': ('source', MODEL | BEHAVIOR),
    'source_aligned': ('source', MODEL | BEHAVIOR),
    'target_model': ('target', MODEL),
    'target': ('target', MODEL | BEHAVIOR)}
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


@pytest.fixture
def couple(make):
  return make()


def run(couple, step, data):
  source, target = data
  inputs = {'source': [source], 'source_aligned': [source, target]}
  train = getattr(couple, f'train_{step}')
  metrics = train(*inputs.get(step, [target]))
  return {key: float(x) for key, x in metrics.items()}


def modules(learner):
  wm, ac = learner.wm, learner.ac
  return {
      'encoder': wm.encoder, 'rssm': wm.rssm, 'decoder': wm.heads['decoder'],
      'reward': wm.heads['reward'], 'actor': ac.actor, 'critic': ac.critic,
      'slow_critic': ac.slow_critic}


def snapshot(couple):
  """(agent, module, index) -> value of every weight of both agents."""
  return {
      (name, part, index): var.numpy()
      for name, learner in (('source', couple.source),
                            ('target', couple.target))
      for part, module in modules(learner).items()
      for index, var in enumerate(module.variables)}


def reached(tape, value, couple):
  """(agent, module) pairs that have a gradient which is not zero."""
  names = [(name, part) for name in ('source', 'target') for part in modules(
      getattr(couple, name))]
  found = {}
  for name, part in names:
    variables = modules(getattr(couple, name))[part].variables
    grads = tape.gradient(value, variables, unconnected_gradients='zero')
    found[name, part] = [bool(np.any(x)) for x in grads]
  return {key: flags for key, flags in found.items() if any(flags)}


@pytest.mark.parametrize('step', STEPS)
def test_each_step_moves_exactly_its_variables(couple, data, step):
  name, parts = STEPS[step]
  learner, other = couple.source, couple.target
  if name == 'target':
    learner, other = other, learner
  untouched = [x.numpy() for x in other.variables]
  for count in range(2):
    before = snapshot(couple)
    run(couple, step, data())
    # The slow critic is copied at the first update and then rarely.
    expected = parts if count == 0 else parts - {'slow_critic'}
    for key, value in snapshot(couple).items():
      moved = bool(np.any(value != before[key]))
      assert moved == (key[0] == name and key[1] in expected), key
  for old, new in zip(untouched, other.variables, strict=True):
    np.testing.assert_array_equal(old, new)
  assert int(learner.updates) == 2 and int(couple.aligned_steps) == 0


@pytest.mark.parametrize('reduction', ['time_sum', 'mean'])
def test_alignment_reaches_only_the_target_encoder(make, data, reduction):
  couple = make({'align.reduction': reduction, 'coworld.beta2': 3.0})
  batch = data()[1]
  with tf.GradientTape(persistent=True) as tape:
    _, outs, _ = couple.target.wm.loss(batch, SEED)
    loss, metrics = couple.align(outs)
  found = reached(tape, loss, couple)
  assert set(found) == {('target', 'encoder')}
  assert all(found['target', 'encoder'])
  logs = [tf.nn.log_softmax(tf.cast(x.wm.encoder(batch), tf.float64))
          for x in (couple.source, couple.target)]
  kl = np.sum(np.exp(logs[0]) * (logs[0] - logs[1]), -1)
  kl = kl.mean() if reduction == 'mean' else kl.sum(1).mean()
  np.testing.assert_allclose(loss, 3 * kl, 2e-5)
  np.testing.assert_allclose(metrics['align_kl'], kl, 2e-5)


def test_relabelled_rewards_reach_only_the_source_model(couple, data):
  batch = data()[1]
  with tf.GradientTape(persistent=True) as tape:
    loss, _ = couple.relabel(batch, SEED)
  found = reached(tape, loss, couple)
  assert set(found) == {
      ('source', part) for part in ('encoder', 'rssm', 'reward')}
  assert all(found['source', 'encoder']) and all(found['source', 'reward'])


def test_relabelled_loss_follows_the_equation(make, data):
  couple, batch = make({'coworld.k': 0.3}), data()[1]
  wm = couple.source.wm
  # From the zero state, with the target's actions.
  post, _ = wm.rssm.observe(
      wm.encoder(batch), batch['action'], batch['is_first'], SEED)
  head = wm.heads['reward'](wm.rssm.get_feat(post))
  error = 0.3 * (head.mode() - batch['reward'])
  loss, metrics = couple.relabel(batch, SEED)
  np.testing.assert_allclose(
      loss, np.mean(error ** 2) / 2 + np.log(2 * np.pi) / 2, 2e-5)
  np.testing.assert_allclose(
      metrics['relabel_error'], np.mean(np.abs(error)) / 0.3, 2e-5)


def test_constraint_reaches_only_the_target_critic(make, data):
  couple = make({'coworld.alpha': 2.5})
  target, peer = couple.target, couple.source.ac.critic
  for var in couple.source.ac.slow_critic.variables:
    var.assign_add(tf.ones_like(var))  # The peer is not the slow critic.
  with tf.GradientTape(persistent=True) as tape:
    _, outs, _ = target.wm.loss(data()[1], SEED)
    seq = target.wm.imagine(
        target.ac.act, outs['post'], data()[1]['is_terminal'], 3, SEED)
    seq['reward'] = target.wm.heads['reward'](seq['feat']).mode()
    _, metrics = target.ac.critic_loss(
        seq, target.ac.returns(seq), {'constraint': couple.constrain})
    value = target.ac.critic(tf.stop_gradient(seq['feat'][:-1])).mode()
    loss, _ = couple.constrain(seq, value)
  assert set(reached(tape, loss, couple)) == {('target', 'critic')}
  direct, _ = make({'coworld.constraint': 'direct'}).constrain(seq, value)
  np.testing.assert_allclose(
      direct, 2 * np.mean(seq['weight'][:-1] * value), 2e-5, 1e-6)
  bound = peer(seq['feat'][:-1]).mode().numpy()
  active = value > bound
  assert 0 < np.mean(active) < 1
  expected = seq['weight'][:-1] * np.where(active, value, bound)
  np.testing.assert_allclose(loss, 2.5 * np.mean(expected), 2e-5, 1e-6)
  np.testing.assert_allclose(metrics['constraint_loss'], loss, 1e-4, 1e-6)
  np.testing.assert_allclose(
      metrics['constraint_active'], np.mean(active), 2e-5)


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


@pytest.mark.parametrize('mode, step', [
    *[('graph', step) for step in STEPS], ('xla', 'target')])
def test_execution_modes_agree(make, data, mode, step):
  couples = make(), make({'compile': mode})
  one, two = [run(couple, step, data()) for couple in couples]
  assert set(one) == set(two)
  for key in one:
    if key.endswith('_loss'):
      np.testing.assert_allclose(two[key], one[key], 2e-5, 1e-6, err_msg=key)
  close(*couples)


def test_target_may_start_from_the_source(couple, make):
  couple.copy_source_model()
  close(couple.source.wm, couple.target.wm)
  weights = snapshot(couple)
  shared = {part for name, part, index in weights if name == 'source' and (
      weights['source', part, index] == weights['target', part, index]).all()
      and weights['source', part, index].any()}
  assert shared == MODEL


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
