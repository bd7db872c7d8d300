"""Cases B, reward alignment, and C, the weight eta."""

import numpy as np
import pytest
import tensorflow as tf

from coworld_tf.stages import reward_alignment

SHARES = [0.0, 0.3, 0.9, 1.0]
TOLERANCE = {'float64': 1e-10, 'float32': 2e-5}


@pytest.fixture(params=['float64', 'float32'])
def rewards(request):
  rng = np.random.default_rng(0)
  return rng.normal(size=[2, 3, 4]).astype(request.param)


def nll(prediction, label):
  """Unit-variance Gaussian, without its constant."""
  return tf.reduce_mean(0.5 * (prediction - label) ** 2)


@pytest.mark.parametrize('k', SHARES)
def test_label_mixes_prediction_and_data(rewards, k):
  predicted, recorded = map(tf.constant, rewards)
  with tf.GradientTape() as tape:
    tape.watch([predicted, recorded])
    label = reward_alignment.aligned_reward(predicted, recorded, k)
  expected = (1 - k) * rewards[0].astype('f8') + k * rewards[1].astype('f8')
  tolerance = TOLERANCE[rewards.dtype.name]
  np.testing.assert_allclose(label, expected, tolerance, tolerance)
  assert tape.gradient(label, [predicted, recorded]) == [None, None]
  swapped = k * rewards[0] + (1 - k) * rewards[1]
  assert np.abs(label - swapped).max() > 0.1


@pytest.mark.parametrize('k', SHARES)
def test_gradient_is_k_times_the_plain_one(k):
  rng = np.random.default_rng(1)
  weight = tf.Variable(rng.normal(size=[6, 1]))
  feat, recorded = rng.normal(size=[2, 3, 6]), rng.normal(size=[2, 3])
  with tf.GradientTape(persistent=True) as tape:
    predicted = tf.linalg.matmul(feat, weight[None])[..., 0]
    label = reward_alignment.aligned_reward(predicted, recorded, k)
    mixed, plain = nll(predicted, label), nll(predicted, recorded)
  error = feat @ weight.numpy()[..., 0] - recorded
  np.testing.assert_allclose(mixed, np.mean((k * error) ** 2) / 2, 1e-10)
  np.testing.assert_allclose(
      tape.gradient(mixed, weight), k * tape.gradient(plain, weight),
      1e-10, 1e-12)
  np.testing.assert_allclose(
      tape.gradient(plain, weight)[:, 0],
      np.einsum('bl,blf->f', error, feat) / 6, 1e-10)


@pytest.mark.parametrize('eta', [1.0, 0.55, 0.1])
@pytest.mark.parametrize('k', SHARES)
def test_gradient_is_the_slope_with_a_frozen_label(slope, k, eta):
  rng = np.random.default_rng(2)
  weight = rng.normal(size=[6])
  feat, reward = rng.normal(size=[2, 2, 3, 6]), rng.normal(size=[2, 2, 3])
  def loss(weight, label=None):
    source, target = [tf.linalg.matvec(x, weight) for x in feat]
    if label is None:
      label = reward_alignment.aligned_reward(target, reward[1], k)
    return reward_alignment.mixed_reward_loss(
        nll(source, reward[0]), nll(target, label), eta)
  with tf.GradientTape() as tape:
    variable = tf.Variable(weight)
    value = loss(variable)
  grad = tape.gradient(value, variable)
  label = (1 - k) * feat[1] @ weight + k * reward[1]
  frozen = slope(lambda x: loss(tf.constant(x), label), weight)
  np.testing.assert_allclose(grad, frozen, 0, 1e-9)
  errors = [x @ weight - y for x, y in zip(feat, reward)]
  source, target = [
      np.einsum('bl,blf->f', x, y) / 6 for x, y in zip(errors, feat)]
  np.testing.assert_allclose(
      grad, eta * source + (1 - eta) * k * target, 1e-10, 1e-12)
  # A label that follows the prediction would give another slope.
  following = slope(lambda x: loss(tf.constant(x)), weight)
  same = k in (0, 1) or eta == 1
  assert np.allclose(following, grad, 0, 1e-4) == same


@pytest.mark.parametrize('eta', [1.0, 0.75, 0.1])
def test_mixed_loss_weights_both_terms(eta):
  losses = [tf.constant(2.5, tf.float64), tf.constant(-0.7, tf.float64)]
  with tf.GradientTape() as tape:
    tape.watch(losses)
    loss = reward_alignment.mixed_reward_loss(*losses, eta)
  np.testing.assert_allclose(loss, eta * 2.5 + (1 - eta) * -0.7, 1e-10)
  grads = tape.gradient(loss, losses)
  np.testing.assert_allclose(grads, [eta, 1 - eta], 1e-10, 1e-12)


@pytest.mark.parametrize('final', [0.1, 0.25])
def test_source_share_falls_linearly_and_stays(final):
  steps = np.array([0, 1, 30, 60, 119, 120, 121, 10_000])
  shares = [
      float(reward_alignment.source_share(step, 120, final)) for step in steps]
  expected = np.interp(steps, [0, 120], [1, final])
  np.testing.assert_allclose(shares, expected, 2e-5)


def test_final_share_is_that_of_the_paper():
  np.testing.assert_allclose(reward_alignment.source_share(9, 5), 0.1, 2e-5)


@pytest.mark.parametrize('jit', [False, True])
def test_source_share_moves_inside_a_compiled_function(jit):
  step = tf.Variable(0, dtype=tf.int64)
  @tf.function(jit_compile=jit)
  def advance():
    step.assign_add(3)
    return reward_alignment.source_share(step, 10)
  shares = [float(advance()) for _ in range(5)]
  np.testing.assert_allclose(shares, [0.73, 0.46, 0.19, 0.1, 0.1], 2e-5)
  assert advance.experimental_get_tracing_count() == 1
