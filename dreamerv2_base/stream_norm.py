"""Normalization of a stream of numbers by its running magnitude."""

import tensorflow as tf


class StreamNorm(tf.Module):
  """Divides by an average of absolute values and multiplies by a scale.

  A momentum of 1 keeps the magnitude at its start of 1; 0 uses each batch
  alone.
  """

  def __init__(self, momentum=0.99, scale=1.0, eps=1e-8):
    super().__init__()
    self.momentum, self.scale, self.eps = momentum, scale, eps
    self.magnitude = tf.Variable(1.0, trainable=False, dtype=tf.float64)

  def __call__(self, x):
    """Updates the magnitude; returns normalized values and metrics."""
    size = tf.cast(tf.reduce_mean(tf.abs(x)), tf.float64)
    self.magnitude.assign(
        self.momentum * self.magnitude + (1 - self.momentum) * size)
    out = x / (tf.cast(self.magnitude, x.dtype) + self.eps) * self.scale
    return out, {
        'reward_mean': tf.reduce_mean(x),
        'reward_std': tf.math.reduce_std(x),
        'reward_normed_mean': tf.reduce_mean(out)}
