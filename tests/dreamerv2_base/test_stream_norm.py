import numpy as np
import tensorflow as tf

from dreamerv2_base import stream_norm


def test_magnitude_follows_the_stream():
  norm, magnitude = stream_norm.StreamNorm(0.9, scale=2.0), 1.0
  for value in (3.0, -7.0, 0.5):
    out, metrics = norm(tf.constant([value, 3 * value]))
    magnitude = 0.9 * magnitude + 0.1 * abs(2 * value)
    np.testing.assert_allclose(
        out, 2 * value * np.array([1, 3]) / magnitude, 2e-5)
    np.testing.assert_allclose(metrics['reward_mean'], 2 * value, 2e-5)
    np.testing.assert_allclose(metrics['reward_std'], abs(value), 2e-5)


def test_momentum_of_one_is_off_and_of_zero_forgets():
  x = tf.constant([4.0, -2.0])
  np.testing.assert_allclose(stream_norm.StreamNorm(1.0)(x)[0], x, 2e-5)
  norm = stream_norm.StreamNorm(0.0)
  norm(100 * x)
  np.testing.assert_allclose(norm(x)[0], x / 3, 2e-5)
