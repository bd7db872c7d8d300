"""Actor and critic, with case H, the objective of the actor."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import actor_critic, layers

FEAT, HORIZON, COUNT = 4, 3, 5
RHO = {'reinforce': 0.0, 'both': 0.1, 'dynamics': 1.0}
SEED = tf.constant([1, 2])
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


@pytest.fixture
def make(make_config):
  """Makes an actor-critic; normal actions have closed forms."""
  def build(override=None, space=BOX):
    config = make_config({'actor.dist': 'normal', **(override or {})})
    step = tf.Variable(0, dtype=tf.int64)
    ac = actor_critic.ActorCritic(config, FEAT, space, step, layers.Init(0))
    for var in ac.slow_critic.variables:  # Else both critics agree.
      var.assign_add(0.3 * tf.ones_like(var))
    return ac
  return build


@pytest.fixture
def seq():
  rng = np.random.default_rng(0)
  draw = lambda *shape: tf.constant(
      rng.normal(size=[HORIZON + 1, COUNT, *shape]), tf.float32)
  share = rng.uniform(0.3, 1, [2, HORIZON + 1, COUNT])
  return {
      'feat': draw(FEAT), 'action': draw(2), 'reward': draw(),
      'discount': tf.constant(share[0], tf.float32),
      'weight': tf.constant(share[1], tf.float32)}


@pytest.fixture
def target():
  return tf.constant(
      np.random.default_rng(1).normal(size=[HORIZON, COUNT]), tf.float32)


def value_of(critic, feat):
  return critic(feat).mode().numpy().astype('f8')


@pytest.mark.parametrize('slow_baseline', [True, False])
@pytest.mark.parametrize('mode', RHO)
def test_actor_loss_follows_the_equation(
    make, seq, target, mode, slow_baseline):
  ac = make({
      'actor_grad': mode, 'actor_grad_mix': '0.1', 'actor_ent': '0.02',
      'slow_baseline': slow_baseline})
  bias = ac.actor.out.mean.bias
  with tf.GradientTape(persistent=True) as tape:
    tape.watch([seq, target])
    policy = ac.actor.params(seq['feat'][:-1])
    loss, _ = ac.actor_loss({**seq, 'policy': policy}, target)
  feat, rho = seq['feat'][:-2], RHO[mode]
  policy = ac.actor(feat)
  loc, std = policy.mean().numpy(), policy.stddev().numpy().astype('f8')
  noise = (seq['action'][1:-1] - loc) / std
  log_prob = -np.sum(
      noise ** 2 / 2 + np.log(std) + np.log(2 * np.pi) / 2, -1)
  entropy = np.sum(0.5 * np.log(2 * np.pi * np.e * std ** 2), -1)
  critic = ac.slow_critic if slow_baseline else ac.critic
  advantage = target[1:] - value_of(critic, feat)
  weight = seq['weight'][:-2].numpy().astype('f8')
  objective = rho * target[1:] + (1 - rho) * log_prob * advantage
  np.testing.assert_allclose(
      loss, -np.mean(weight * (objective + 0.02 * entropy)), 2e-5)
  count = weight.size
  slope = np.zeros(target.shape)
  slope[1:] = -rho * weight / count
  to_target = tape.gradient(
      loss, target, unconnected_gradients='zero')
  np.testing.assert_allclose(to_target, slope, 2e-5, 1e-9)
  score = (1 - rho) * weight * advantage / count
  expected = -np.sum(score[..., None] * noise / std, (0, 1))
  to_bias = tape.gradient(loss, bias, unconnected_gradients='zero')
  np.testing.assert_allclose(to_bias, expected, 1e-4, 1e-7)
  constants = [
      *[seq[key] for key in seq if key != 'feat'], *ac.critic.variables,
      *ac.slow_critic.variables]
  assert not any(x is not None for x in tape.gradient(loss, constants))
  assert np.any(tape.gradient(loss, ac.actor.out.std.bias))  # Entropy.


def test_schedules_read_the_step(make, seq, target):
  ac = make({
      'actor_grad': 'both', 'actor_ent': 'linear(1,0,10)',
      'actor_grad_mix': 'linear(0,1,10)'})
  for step in (0, 4, 10):
    ac.step.assign(step)
    policy = ac.actor.params(seq['feat'][:-1])
    _, metrics = ac.actor_loss({**seq, 'policy': policy}, target)
    np.testing.assert_allclose(
        metrics['actor_ent_scale'], 1 - step / 10, 2e-5, 1e-7)
    np.testing.assert_allclose(
        metrics['actor_grad_mix'], step / 10, 2e-5, 1e-7)


def test_critic_loss_follows_the_equation(make, seq, target):
  ac = make()
  inputs = [seq['feat'], seq['weight'], target]
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(inputs)
    loss, _ = ac.critic_loss(seq, target)
  error = value_of(ac.critic, seq['feat'][:-1]) - target
  weight = seq['weight'][:-1].numpy().astype('f8')
  expected = np.mean(weight * (error ** 2 + np.log(2 * np.pi)) / 2)
  np.testing.assert_allclose(loss, expected, 2e-5)
  np.testing.assert_allclose(
      tape.gradient(loss, ac.critic.out.mean.bias),
      [np.mean(weight * error)], 2e-5)
  constants = inputs + [*ac.slow_critic.variables]
  assert not any(x is not None for x in tape.gradient(loss, constants))


def test_critic_terms_are_added_with_their_metrics(make, seq, target):
  ac = make()
  plain, _ = ac.critic_loss(seq, target)
  def term(given, value):
    assert given is seq
    np.testing.assert_allclose(
        value, value_of(ac.critic, seq['feat'][:-1]), 2e-5)
    return tf.constant(3.0), {'three': 3.0}
  loss, metrics = ac.critic_loss(seq, target, {'one': term, 'two': term})
  np.testing.assert_allclose(loss, plain + 6, 2e-5)
  assert metrics['three'] == 3.0 and 'critic' in metrics


def test_returns_use_slow_critic_and_stop_before_the_last_state(make, seq):
  ac = make({'discount_lambda': 0.9})
  value = value_of(ac.slow_critic, seq['feat'])
  reward, discount = seq['reward'].numpy(), seq['discount'].numpy()
  expected, last = [], value[-1]
  for step in reversed(range(HORIZON)):
    last = reward[step] + discount[step] * (
        0.1 * value[step + 1] + 0.9 * last)
    expected.insert(0, last)
  np.testing.assert_allclose(ac.returns(seq), expected, 2e-5, 1e-6)
  released = make({'discount_lambda': 0.9, 'bug_compat.reverse_lambda': True})
  np.testing.assert_allclose(
      released.returns(seq), expected[::-1], 2e-5, 1e-6)


@pytest.mark.parametrize('fraction', [1.0, 0.25])
def test_slow_critic_follows_at_every_nth_update(make, fraction):
  ac = make({'slow_target_update': 3, 'slow_target_fraction': fraction})
  slow = ac.slow_critic.out.mean.bias
  fast = ac.critic.out.mean.bias
  expected = 0
  for update in range(8):
    fast.assign([update + 1.0])
    ac.update_slow_critic()
    if update % 3 == 0:
      share = fraction if update else 1.0
      expected += share * (update + 1 - expected)
    np.testing.assert_allclose(slow, [expected], 2e-5)


def test_slow_critic_starts_as_a_copy(make_config):
  ac = actor_critic.ActorCritic(
      make_config(), FEAT, BOX, tf.Variable(0), layers.Init(0))
  for slow, fast in zip(ac.slow_critic.variables, ac.critic.variables):
    np.testing.assert_array_equal(slow, fast)
    assert slow is not fast


def test_unused_dimensions_are_zero(make):
  space = gymnasium.spaces.Box(
      np.float32([-1, 0, -1]), np.float32([1, 0, 1]))
  ac = make(space=space)
  action = ac.act(tf.zeros([6, FEAT]), SEED)[0].numpy()
  assert (action[:, 1] == 0).all() and (action[:, [0, 2]] != 0).all()
  assert make().mask is None


@pytest.mark.parametrize('space, dist, mode', [
    (BOX, 'trunc_normal', 'dynamics'),
    (gymnasium.spaces.Discrete(3), 'onehot', 'reinforce')])
def test_automatic_choices(make, space, dist, mode):
  ac = make({'actor.dist': 'auto'}, space)
  assert (ac.actor.out.kind, ac.grad) == (dist, mode)


def test_released_actions_leave_their_bounds(make):
  feat = tf.zeros([500, FEAT])
  ours, _ = make({'actor.dist': 'auto'}).act(feat, SEED)
  released, _ = make({'bug_compat.unclipped_actions': True}).act(feat, SEED)
  assert np.abs(ours).max() < 1
  assert 0.2 < np.mean(np.abs(released) > 1) < 0.6


def test_unknown_gradient_is_named(make):
  with pytest.raises(ValueError, match="actor_grad: 'policy'"):
    make({'actor_grad': 'policy'})


@pytest.mark.parametrize('key', ['actor_ent', 'actor_grad_mix'])
def test_wrong_schedule_is_named(make, key):
  with pytest.raises(ValueError, match=f"{key}: not a schedule: 'linear"):
    make({key: 'linear(1,2)'})
