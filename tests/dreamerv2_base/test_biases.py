import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import agent, biases


@pytest.mark.parametrize('dtype, error', [
    ('float32', 1e-5), ('bfloat16', 2 ** -8), ('float16', 2 ** -10)])
@pytest.mark.parametrize('mode', ['eager', 'graph', 'xla'])
def test_gradients_of_biases_are_sums(mode, dtype, error):
  """Of so many numbers that a sum in 16 bits would end too early."""
  x = np.random.default_rng(0).uniform(0.5, 1.5, [3, 40, 50, 2])
  x, bias = tf.cast(x, dtype), tf.constant([1.0, 2.0])
  def run(x, bias):
    low = tf.cast(bias, dtype)
    with tf.GradientTape() as tape:
      tape.watch([x, low])
      result = biases.add(x, low)
    return result, *tape.gradient(result, [x, low], x)
  run = agent.compiled(run, mode)
  result, to_x, to_bias = [
      tf.cast(y, tf.float32).numpy() for y in run(x, bias)]
  x = tf.cast(x, tf.float32).numpy()
  np.testing.assert_allclose(result, x + bias, error)
  np.testing.assert_array_equal(to_x, x)
  exact = x.astype('f8').sum((0, 1, 2))
  for found in (to_bias, tf.cast(biases.total(tf.cast(x, dtype)), tf.float32)):
    np.testing.assert_allclose(found, exact, error)
