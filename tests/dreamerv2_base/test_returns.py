"""Cases D, lambda-returns, and I, returns-to-go."""

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import returns

LAMBDAS = [0.0, 0.95, 1.0]
TOLERANCE = {'float64': 1e-10, 'float32': 2e-5}


@pytest.fixture(params=['float64', 'float32'])
def arrays(request):
  rng = np.random.default_rng(0)
  data = {
      'reward': rng.normal(size=[6, 3]), 'value': rng.normal(size=[6, 3]),
      'discount': rng.uniform(0.2, 1, [6, 3]),
      'bootstrap': rng.normal(size=[3])}
  return {key: x.astype(request.param) for key, x in data.items()}


def run(arrays, lambda_):
  return returns.lambda_return(
      **{key: tf.constant(x) for key, x in arrays.items()},
      lambda_=lambda_).numpy()


def oracle(arrays, lambda_):
  """Eq. 8 as a sum of n-step returns, not as a recursion."""
  reward, value, discount, bootstrap = (
      arrays[key].astype('f8')
      for key in ('reward', 'value', 'discount', 'bootstrap'))
  value = np.concatenate([value, bootstrap[None]])
  horizon, result = len(reward), []
  for start in range(horizon):
    total, partial, alive = 0, 0, 1
    for count in range(1, horizon - start + 1):
      partial = partial + alive * reward[start + count - 1]
      alive = alive * discount[start + count - 1]
      last = start + count == horizon
      share = lambda_ ** (count - 1) * (1 if last else 1 - lambda_)
      total = total + share * (partial + alive * value[start + count])
    result.append(total)
  return np.stack(result)


@pytest.mark.parametrize('lambda_', LAMBDAS)
def test_returns_follow_the_equation(arrays, lambda_):
  tolerance = TOLERANCE[arrays['reward'].dtype.name]
  result, expected = run(arrays, lambda_), oracle(arrays, lambda_)
  np.testing.assert_allclose(result, expected, tolerance, tolerance)
  assert np.abs(result - expected[::-1]).max() > 0.1


def test_ends_of_lambda(arrays):
  reward, value, discount, bootstrap = (
      arrays[key] for key in ('reward', 'value', 'discount', 'bootstrap'))
  following = np.concatenate([value[1:], bootstrap[None]])
  np.testing.assert_allclose(
      run(arrays, 0.0), reward + discount * following, 2e-5, 1e-6)
  total = bootstrap
  for step in reversed(range(len(reward))):
    total = reward[step] + discount[step] * total
  np.testing.assert_allclose(run(arrays, 1.0)[0], total, 2e-5, 1e-6)


@pytest.mark.parametrize('lambda_', LAMBDAS)
@pytest.mark.parametrize('key', ['reward', 'value', 'discount', 'bootstrap'])
def test_gradient_is_the_slope_of_the_returns(arrays, slope, key, lambda_):
  wide = {name: tf.constant(x, tf.float64) for name, x in arrays.items()}
  share = np.random.default_rng(1).normal(size=[6, 3])
  def loss(x):
    return tf.reduce_sum(share * returns.lambda_return(
        **{**wide, key: x}, lambda_=lambda_))
  with tf.GradientTape() as tape:
    tape.watch(wide)
    total = loss(wide[key])
  grad = tape.gradient(total, wide[key], unconnected_gradients='zero')
  np.testing.assert_allclose(grad, slope(
      lambda x: loss(tf.constant(x)), wide[key].numpy()), 0, 1e-8)


def test_returns_to_go_include_the_reward_of_their_step(arrays):
  reward = arrays['reward']
  # Values are not read with lambda 1, nor does a bootstrap of 0 add any.
  result = run({
      'reward': reward, 'value': arrays['value'], 'bootstrap': 0 * reward[0],
      'discount': np.asarray(0.9, reward.dtype)}, 1.0)
  expected = [
      sum(0.9 ** (later - step) * reward[later].astype('f8')
          for later in range(step, len(reward)))
      for step in range(len(reward))]
  tolerance = TOLERANCE[reward.dtype.name]
  np.testing.assert_allclose(result, expected, tolerance, tolerance)
  np.testing.assert_array_equal(result[-1], reward[-1])


def test_one_number_serves_as_discount(arrays):
  constant = {**arrays, 'discount': np.full_like(arrays['reward'], 0.9)}
  number = {**arrays, 'discount': constant['discount'][0, 0]}
  np.testing.assert_array_equal(run(number, 0.95), run(constant, 0.95))


def test_first_value_is_not_read(arrays):
  changed = {**arrays, 'value': arrays['value'].copy()}
  changed['value'][0] += 100
  np.testing.assert_array_equal(run(changed, 0.95), run(arrays, 0.95))


def test_gradient_reaches_rewards_and_bootstrap(arrays):
  inputs = {key: tf.constant(x) for key, x in arrays.items()}
  with tf.GradientTape() as tape:
    tape.watch(inputs)
    start = returns.lambda_return(**inputs, lambda_=0.8)[0]
  grads = tape.gradient(start, inputs)
  decay = np.cumprod(0.8 * arrays['discount'].astype('f8'), 0)
  np.testing.assert_allclose(grads['reward'][0], np.ones(3), 2e-5)
  np.testing.assert_allclose(grads['reward'][1:], decay[:-1], 2e-5)
  np.testing.assert_allclose(grads['bootstrap'], decay[-1] / 0.8, 2e-5)
