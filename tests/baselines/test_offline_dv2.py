"""The penalty of Offline DV2, its two phases and what they lead to."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf.baselines import offline_dv2
from dreamerv2_base import agent

VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


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
