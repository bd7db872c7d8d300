"""The penalty of Offline DV2, its two phases and what they lead to."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf.baselines import offline_dv2
from dreamerv2_base import agent

VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
# What the toy below needs to be learned within seconds.
TOY = {
    'compile': 'graph', 'encoder.mlp_layers': [32],
    'decoder.mlp_layers': [32], 'rssm.stoch': 8, 'rssm.discrete': 8,
    'rssm.deter': 32, 'rssm.hidden': 64, 'rssm.norm_gru': False,
    'reward_head.units': 32, 'actor.units': 32, 'critic.units': 32,
    'model_opt.lr': 2e-3, 'actor_opt.lr': 3e-3, 'critic_opt.lr': 1e-3,
    'imag_horizon': 5, 'discount': 0.9}


@pytest.fixture(scope='module')
def make(make_config):
  def build(override=None, seed=3):
    config = make_config({'rssm.ensemble': 7, **(override or {})})
    return offline_dv2.OfflineDV2(
        config, agent.Agent(config, VECTOR, BOX, seed))
  return build


@pytest.fixture(scope='module')
def batch(make_batch):
  return {key: tf.constant(x) for key, x in make_batch().items()}


def values(module):
  return [x.numpy() for x in module.variables]


def assert_equal(one, two):
  for left, right in zip(values(one), values(two), strict=True):
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize('shape', [(7, 2, 3, 4, 5), (3, 2, 3, 6)])
def test_disagreement_follows_the_formula(shape):
  mean = np.random.default_rng(0).normal(size=shape)
  apart = mean - mean.mean(0)
  expected = np.zeros(shape[1:3])
  for head in range(shape[0]):
    for index in np.ndindex(*shape[1:3]):
      expected[index] += np.linalg.norm(apart[head][index].ravel()) / shape[0]
  wide = offline_dv2.disagreement(tf.constant(mean))
  np.testing.assert_allclose(wide, expected, 1e-12)
  half = offline_dv2.disagreement(tf.constant(mean, tf.float16))
  assert half.dtype == tf.float32
  np.testing.assert_allclose(half, expected, 2e-3)


def test_gradient_follows_central_differences(slope):
  mean = np.random.default_rng(0).normal(size=[3, 1, 2, 2, 2])
  weight = np.float64([[1, -2]])
  def total(x):
    return tf.reduce_sum(weight * offline_dv2.disagreement(x))
  x = tf.constant(mean)
  with tf.GradientTape() as tape:
    tape.watch(x)
    value = total(x)
  np.testing.assert_allclose(
      tape.gradient(value, x), slope(lambda x: total(tf.constant(x)), mean),
      1e-6, 1e-8)


@pytest.mark.parametrize('jit', [False, True])
@pytest.mark.parametrize('heads', [1, 3, 7])
def test_equal_heads_agree_exactly(heads, jit):
  one = tf.nn.softmax(tf.random.stateless_normal([1, 4, 5, 32, 32], [0, 1]))
  @tf.function(jit_compile=jit)
  def run(mean):
    with tf.GradientTape() as tape:
      tape.watch(mean)
      value = offline_dv2.disagreement(mean)
    return value, tape.gradient(value, mean)
  value, grad = run(tf.repeat(one, heads, 0))
  np.testing.assert_array_equal(value, np.zeros([4, 5]))
  np.testing.assert_array_equal(grad, np.zeros(grad.shape))


def test_distinct_choices_disagree_most():
  choice = np.arange(7)[:, None, None, None] + np.arange(32)
  value = offline_dv2.disagreement(tf.one_hot(choice % 32, 32))
  np.testing.assert_allclose(value, [[5.237]], 1e-4)


@pytest.mark.parametrize('discrete', [4, 0])
def test_rewards_are_lowered_at_every_state(make, discrete):
  learner = make({'offline_dv2.penalty': 3.0, 'rssm.discrete': discrete})
  rssm, rng = learner.target.wm.rssm, np.random.default_rng(0)
  draw = lambda size: tf.constant(rng.normal(size=[4, 6, size]), tf.float32)
  seq = {'deter': draw(rssm.deter), 'feat': draw(rssm.feat_size)}
  reward, metrics = learner.penalized(seq)
  stats = rssm.prior_stats(seq['deter'])
  mean = tf.nn.softmax(stats['logit']) if discrete else stats['mean']
  mean = mean.numpy().astype('f8').reshape([7, 4, 6, -1])
  distance = np.linalg.norm(mean - mean.mean(0), axis=-1).mean(0)
  assert distance.shape == (4, 6) and distance.min() > 1e-3
  plain = learner.target.wm.heads['reward'](seq['feat']).mode()
  np.testing.assert_allclose(reward, plain - 3 * distance, 1e-4)
  np.testing.assert_allclose(metrics['disagreement'], distance.mean(), 1e-4)
  np.testing.assert_allclose(metrics['penalty'], 3 * distance.mean(), 1e-4)


def test_phase_1_trains_the_model_as_dreamerv2_does(make, batch):
  learner, plain = make(), make()
  before = values(learner.target.ac)
  for _ in range(2):
    metrics = learner.train_target_model(batch)
    assert metrics == plain.target.update_model(batch)
  assert_equal(learner, plain)
  for left, right in zip(before, values(learner.target.ac), strict=True):
    np.testing.assert_array_equal(left, right)


def test_without_penalty_the_policy_learns_as_in_dreamerv2(make, batch):
  # The update of the model comes before that of the policy, but is nil.
  override = {'offline_dv2.penalty': 0.0, 'rssm.ensemble': 1,
              'model_opt.lr': 0.0, 'model_opt.wd': 0.0}
  learner, plain = make(override), make(override)
  for update in range(3):
    metrics = learner.train_target(batch)
    expected = plain.target.update(batch)
    assert metrics.pop('disagreement') == metrics.pop('penalty') == 0
    assert metrics == {key: expected[key] for key in metrics}
    assert {'actor_loss', 'critic_loss', 'imag_return'} < set(metrics)
    assert_equal(learner.target.ac, plain.target.ac)
    assert int(learner.target.updates) == update + 1


def test_phase_2_freezes_the_model(make, batch):
  learner = make()
  model, behavior = values(learner.target.wm), values(learner.target.ac)
  learner.train_target(batch)
  for left, right in zip(model, values(learner.target.wm), strict=True):
    np.testing.assert_array_equal(left, right)
  moved = [np.any(left != right) for left, right in zip(
      behavior, values(learner.target.ac), strict=True)]
  assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize('mode', ['graph', 'xla'])
def test_phase_2_is_the_same_in_every_mode(make, batch, mode):
  eager, other = make(), make({'compile': mode})
  for _ in range(2):
    one, two = eager.train_target(batch), other.train_target(batch)
    assert set(one) == set(two)
    for key, value in one.items():
      np.testing.assert_allclose(two[key], value, 1e-3, 1e-5, err_msg=key)
  for left, right in zip(values(eager), values(other), strict=True):
    np.testing.assert_allclose(left, right, 1e-3, 1e-5)
  assert other.train_target.experimental_get_tracing_count() == 1


def test_each_step_draws_a_prior_head(make):
  learner = make({'compile': 'graph'})
  rssm = learner.target.wm.rssm
  for head, dist in enumerate(rssm.img_dist):
    dist.kernel.assign(tf.zeros_like(dist.kernel))
    dist.bias.assign(tf.fill(dist.bias.shape, float(head)))
  @tf.function
  def heads(seed):
    start = {key: x[:1] for key, x in rssm.initial(1).items()}
    prior = rssm.imagine(tf.zeros([1, 40, 2]), start, seed)
    return prior['logit'][0, :, 0, 0]
  drawn = [heads(tf.constant([0, seed])).numpy() for seed in range(2)]
  assert set(drawn[0]) == set(range(7)) and np.any(drawn[0] != drawn[1])


def test_penalty_reaches_the_actor(make, batch, slope):
  # One step, since actions are constant with respect to earlier ones, and
  # Gaussians, since classes have gradients straight through.
  learner = make({'rssm.discrete': 0, 'actor.dist': 'normal'})
  target, seeds = learner.target, [tf.constant([1, 2]), tf.constant([3, 4])]
  post = learner._posteriors(batch, seeds[0])
  bias = target.ac.actor.out.mean.bias
  def penalty(value):
    bias.assign(value)
    seq = target.wm.imagine(
        target.ac.act, post, batch['is_terminal'], 1, seeds[1])
    return learner.penalized(seq)[1]['penalty']
  with tf.GradientTape() as tape:
    value = penalty(np.zeros(2))
  grad = tape.gradient(value, bias)
  assert np.abs(grad).min() > 1e-3
  np.testing.assert_allclose(grad, slope(penalty, np.zeros(2), 1e-2), 0.02)


def test_one_head_cannot_be_penalized(make):
  with pytest.raises(ValueError, match='rssm.ensemble: 1 prior head'):
    make({'rssm.ensemble': 1})
  make({'rssm.ensemble': 1, 'offline_dv2.penalty': 0.0})


def toy(seed, batch=32, length=6):
  """A point that actions push; data know one corner, rewards grow outwards.

  Actions lie in [-0.8, -0.2], and the reward is what the first one moves.
  """
  rng = np.random.default_rng(seed)
  action = rng.uniform(-0.8, -0.2, [batch, length, 2]).astype('f4')
  action[:, 0] = 0
  # Relative to where actions of -0.5 lead in the long run.
  place = np.zeros([batch, length, 2], 'f4')
  place[:, 0] = rng.normal(0, 0.3, [batch, 2])
  for t in range(1, length):
    push = action[:, t] + 0.5 + rng.normal(0, 0.1, [batch, 2])
    place[:, t] = 0.8 * place[:, t - 1] + push
  view = np.random.default_rng(9).normal(0, 10, [2, 5]).astype('f4')
  flags = np.zeros([2, batch, length], bool)
  flags[0, :, 0] = True
  data = {
      'vector': place @ view, 'action': action, 'reward': place[..., 0],
      'is_first': flags[0], 'is_last': flags[1], 'is_terminal': flags[1]}
  return {key: tf.constant(x) for key, x in data.items()}


@pytest.fixture(scope='module')
def modelled(make):
  """A learner after phase 1 on the toy."""
  learner = make(TOY, seed=0)
  for seed in range(300):
    learner.train_target_model(toy(seed))
  return learner


def spread(learner, data, action):
  """Disagreement after one more action [B, L, A], mean over each sequence."""
  rssm = learner.target.wm.rssm
  post = learner._posteriors(data, tf.constant([0, 1]))
  flat = lambda x: tf.reshape(x, [-1, *x.shape[2:]])
  prior = rssm.img_step(
      {key: flat(x) for key, x in post.items()}, flat(action),
      tf.constant([3, 4]))
  stats = rssm.prior_stats(prior['deter'][None])
  value = offline_dv2.disagreement(rssm.get_dist(stats).mean())
  return tf.reduce_mean(tf.reshape(value, action.shape[:2]), 1).numpy()


def test_heads_disagree_where_there_are_no_data(modelled):
  data, rng = toy(99999), np.random.default_rng(0)
  known = rng.uniform(-0.8, -0.2, [32, 6, 2]).astype('f4')
  anywhere = rng.uniform(-1, 1, [32, 6, 2]).astype('f4')
  size = 5 * np.std(data['vector'])
  noise = {**data, 'vector': tf.constant(
      rng.normal(0, size, [32, 6, 5]).astype('f4'))}
  inside = spread(modelled, data, known)
  for name, outside in [
      ('any action', spread(modelled, data, anywhere)),
      ('out of range', spread(modelled, data, 3 * anywhere)),
      ('other corner', spread(modelled, data, -known)),
      ('noise observed', spread(modelled, noise, known))]:
    rise = outside - inside  # By sequence, since its steps are no samples.
    error = np.std(rise, ddof=1) / np.sqrt(len(rise))
    assert rise.mean() > 3 * error, (name, rise.mean(), error)


def test_penalty_keeps_the_policy_near_the_data(make, modelled):
  change = {}
  for penalty in (0.0, 10.0):
    learner = make({**TOY, 'offline_dv2.penalty': penalty}, seed=0)
    for var, known in zip(
        learner.variables, modelled.variables, strict=True):
      var.assign(known)
    history = [
        float(learner.train_target(toy(50000 + update))['disagreement'])
        for update in range(60)]
    change[penalty] = np.mean(history[-10:]) / np.mean(history[:10])
  assert change[10.0] < 0.95 and change[0.0] > 1.1, change
