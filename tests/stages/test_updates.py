"""What each loss of the pair updates and what stays put, by variable.

With what the stages (A, B, E) and the actor (H) become inside the pair.
"""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import pair
from dreamerv2_base import agent

VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
MODEL = {'encoder', 'rssm', 'decoder', 'reward'}
OPTIMIZERS = {  # What follows from the gradients of each.
    'model_opt': MODEL, 'actor_opt': {'actor'},
    'critic_opt': {'critic', 'slow_critic'}}
STEPS = {  # What each step updates, as in the table of losses.
    'source': ('source', set(OPTIMIZERS)),
    'source_aligned': ('source', set(OPTIMIZERS)),
    'target_model': ('target', {'model_opt'}),
    'target': ('target', set(OPTIMIZERS))}
SEED = tf.constant([1, 2])
# Largest relative error of one rounding; in float32, of many.
ERRORS = {'32': 1e-5, 'bfloat16': 2.0 ** -8, '16': 2.0 ** -11}
SAFE = 2.0 ** 7  # A loss scale at which nothing overflows.


@pytest.fixture(scope='module')
def make(make_config):
  def build(override=None):
    config = make_config(override)
    agents = [agent.Agent(config, VECTOR, BOX, seed) for seed in (1, 2)]
    return pair.CoWorldPair(config, *agents, 10)
  return build


@pytest.fixture(params=ERRORS)
def precision(request):
  return request.param


@pytest.fixture
def make_any(make, precision):
  """As `make`, in every precision."""
  def build(override=None):
    couple = make({'precision': precision, **(override or {})})
    if precision == '16':
      for learner in (couple.source, couple.target):
        for opt in (
            learner.wm.opt, learner.ac.actor_opt, learner.ac.critic_opt):
          opt.scale.assign(SAFE)
    return couple
  return build


@pytest.fixture(scope='module')
def data(make_batch):
  """A source and a target batch."""
  return [{key: tf.constant(x) for key, x in make_batch(seed=seed).items()}
          for seed in (1, 2)]


def run(couple, step, data):
  batches = {'source': data[:1], 'source_aligned': data}
  getattr(couple, f'train_{step}')(*batches.get(step, data[1:]))


def networks(learner):
  wm, ac = learner.wm, learner.ac
  return {
      'encoder': wm.encoder, 'rssm': wm.rssm, 'decoder': wm.heads['decoder'],
      'reward': wm.heads['reward'], 'actor': ac.actor, 'critic': ac.critic,
      'slow_critic': ac.slow_critic}


def snapshot(couple):
  """(agent, part, index) -> every weight and all state of the optimizers."""
  values = {}
  for name in ('source', 'target'):
    learner = getattr(couple, name)
    parts = {
        key: module.variables for key, module in networks(learner).items()}
    for key, opt in (
        ('model_opt', learner.wm.opt), ('actor_opt', learner.ac.actor_opt),
        ('critic_opt', learner.ac.critic_opt)):
      parts[key] = [*opt.first, *opt.second, opt.count]
    values.update({
        (name, key, index): var.numpy() for key, variables in parts.items()
        for index, var in enumerate(variables)})
  return values


def check_moved(couple, before, name, parts):
  """Exactly the variables in these parts of one agent differ."""
  for key, value in snapshot(couple).items():
    moved = bool(np.any(value != before[key]))
    assert moved == (key[0] == name and key[1] in parts), key


def reached(tape, value, couple):
  """(agent, network) -> which variables have a gradient that is not zero."""
  found = {}
  for name in ('source', 'target'):
    for key, module in networks(getattr(couple, name)).items():
      grads = tape.gradient(
          value, module.variables, unconnected_gradients='zero')
      found[name, key] = [bool(np.any(x)) for x in grads]
  return {key: flags for key, flags in found.items() if any(flags)}


@pytest.mark.parametrize('step', STEPS)
def test_each_step_moves_exactly_its_variables(make_any, data, step):
  couple = make_any()
  name, optimizers = STEPS[step]
  learner, other = couple.source, couple.target
  if name == 'target':
    learner, other = other, learner
  untouched = [x.numpy() for x in other.variables]
  parts = optimizers.union(*(OPTIMIZERS[key] for key in optimizers))
  for count in range(2):
    before = snapshot(couple)
    run(couple, step, data)
    # The slow critic is copied at the first update and then rarely.
    check_moved(
        couple, before, name, parts if not count else parts - {'slow_critic'})
  for old, new in zip(untouched, other.variables, strict=True):
    np.testing.assert_array_equal(old, new)
  assert int(learner.updates) == 2 and int(couple.aligned_steps) == 0


@pytest.mark.parametrize('name', OPTIMIZERS)
@pytest.mark.parametrize('step', ['source', 'source_aligned', 'target'])
def test_each_loss_moves_exactly_its_networks(make_any, data, step, name):
  couple = make_any({f'{key}.lr': 0 for key in set(OPTIMIZERS) - {name}})
  before = snapshot(couple)
  run(couple, step, data)
  check_moved(
      couple, before, STEPS[step][0], {*OPTIMIZERS, *OPTIMIZERS[name]})


@pytest.mark.parametrize('reduction', ['time_sum', 'mean'])
def test_alignment_reaches_only_the_target_encoder(make_any, data, reduction):
  couple = make_any({'align.reduction': reduction, 'coworld.beta2': 3.0})
  batch = data[1]
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


def test_relabelled_rewards_reach_only_the_source_model(make, data):
  grads = []
  for k in (0.3, 1.0):
    couple = make({'coworld.k': k})
    with tf.GradientTape(persistent=True) as tape:
      loss, _ = couple.relabel(data[1], SEED)
    found = reached(tape, loss, couple)
    assert set(found) == {
        ('source', part) for part in ('encoder', 'rssm', 'reward')}
    assert all(found['source', 'encoder']) and all(found['source', 'reward'])
    grads.append(tape.gradient(
        loss, couple.source.wm.trainable_variables,
        unconnected_gradients='zero'))
  # The label holds the prediction, so k scales the whole gradient.
  for part, plain in zip(*grads, strict=True):
    np.testing.assert_allclose(part, 0.3 * plain, 2e-5, 1e-6)


def test_relabelled_loss_follows_the_equation(make_any, data):
  couple, batch = make_any({'coworld.k': 0.3}), data[1]
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


def imagine(learner, post, batch):
  """An imagined sequence and its returns."""
  seq = learner.wm.imagine(
      learner.ac.act, post, batch['is_terminal'], 3, SEED)
  seq['reward'] = learner.wm.heads['reward'](seq['feat']).mode()
  return seq, learner.ac.returns(seq)


def test_constraint_reaches_only_the_target_critic(
    make_any, data, precision):
  couple = make_any({'coworld.alpha': 2.5})
  target, peer = couple.target, couple.source.ac.critic
  for var in couple.source.ac.slow_critic.variables:
    var.assign_add(tf.ones_like(var))  # The peer is not the slow critic.
  with tf.GradientTape(persistent=True) as tape:
    _, outs, _ = target.wm.loss(data[1], SEED)
    seq, goal = imagine(target, outs['post'], data[1])
    total, metrics = target.ac.critic_loss(
        seq, goal, {'constraint': couple.constrain})
    value = target.ac.critic(tf.stop_gradient(seq['feat'][:-1])).mode()
    loss, _ = couple.constrain(seq, value)
  for term in (total, loss):
    assert set(reached(tape, term, couple)) == {('target', 'critic')}
  weight = seq['weight'][:-1].numpy()
  direct, _ = make_any({'coworld.constraint': 'direct'}).constrain(seq, value)
  np.testing.assert_allclose(direct, 2 * np.mean(weight * value), 2e-5, 1e-6)
  bound = peer(seq['feat'][:-1]).mode().numpy()
  active = value.numpy() > bound
  assert 0 < np.mean(active) < 1
  expected = weight * np.where(active, value, bound)
  np.testing.assert_allclose(loss, 2.5 * np.mean(expected), 2e-5, 1e-6)
  np.testing.assert_allclose(metrics['constraint_loss'], loss, 1e-4, 1e-6)
  np.testing.assert_allclose(
      metrics['constraint_active'], np.mean(active), 2e-5)
  np.testing.assert_allclose(  # All of Eq. 6.
      tape.gradient(total, target.ac.critic.out.mean.bias),
      [np.mean(weight * (value - goal + 2.5 * active))],
      2 * ERRORS[precision])  # Of each term, and of their sum.


def test_actor_gradient_is_the_slope_of_imagined_returns(make, data, slope):
  learner = make({
      'rssm.discrete': 0, 'actor.dist': 'normal', 'actor_ent': 0}).target
  head = learner.ac.actor.out
  # The gradient through the actor's features is stopped: let it read none.
  for layer in (head.mean, head.std):
    layer.kernel.assign(tf.zeros_like(layer.kernel))
  post = learner.wm.loss(data[1], SEED)[1]['post']
  def loss(bias):
    head.mean.bias.assign(bias)
    return learner.ac.actor_loss(*imagine(learner, post, data[1]))[0]
  start = np.array([0.3, -0.2])
  with tf.GradientTape() as tape:
    value = loss(start)
  grad = tape.gradient(value, head.mean.bias)
  assert np.abs(grad).min() > 1e-3
  # The networks compute in float32, hence the wide step.
  np.testing.assert_allclose(grad, slope(loss, start, 0.02), 5e-3)
