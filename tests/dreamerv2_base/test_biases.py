import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import biases


@pytest.mark.parametrize('dtype, error', [
    ('float32', 1e-6), ('bfloat16', 2 ** -8), ('float16', 2 ** -10)])
@pytest.mark.parametrize('compiled', [False, True])
def test_gradients_of_biases_are_sums(compiled, dtype, error):
  """Of so many numbers that a sum in 16 bits would end too early."""
  x = np.random.default_rng(0).uniform(0.5, 1.5, [3, 40, 50, 2])
  x, bias = tf.cast(x, dtype), tf.constant([1.0, 2.0])
  def run(x, bias):
    low = tf.cast(bias, dtype)
    with tf.GradientTape() as tape:
      tape.watch([x, low])
      result = biases.add(x, low)
    return result, *tape.gradient(result, [x, low], x)
  if compiled:
    run = tf.function(run, autograph=False)
  result, to_x, to_bias = [
      tf.cast(y, tf.float32).numpy() for y in run(x, bias)]
  x = tf.cast(x, tf.float32).numpy()
  np.testing.assert_allclose(result, x + bias, error)
  np.testing.assert_array_equal(to_x, x)
  np.testing.assert_allclose(to_bias, x.astype('f8').sum((0, 1, 2)), error)
