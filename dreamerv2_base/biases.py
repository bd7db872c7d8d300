"""Biases, whose gradients are long sums.

TensorFlow's `BiasAddGrad` on CPU sums bfloat16 numbers in bfloat16, where a
sum stops growing at 2^8 times the size of what is added. Matrix products sum
in float32.
"""

import tensorflow as tf


def add(x, bias):
  """Adds a bias [C] to [..., C]."""
  # In float32, TensorFlow's gradient is right and part of a convolution's.
  if x.dtype == tf.bfloat16:
    return _add(x, bias)
  return tf.nn.bias_add(x, bias)


def total(x):
  """Sums [..., C] over all but the last axis."""
  x = tf.reshape(x, [-1, x.shape[-1]])
  return tf.linalg.matmul(tf.ones([1, tf.shape(x)[0]], x.dtype), x)[0]


@tf.custom_gradient
def _add(x, bias):
  return tf.nn.bias_add(x, bias), lambda upstream: (upstream, total(upstream))
