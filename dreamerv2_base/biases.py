"""Biases, whose gradients are long sums.

TensorFlow's `BiasAddGrad` on CPU sums bfloat16 numbers in bfloat16, where a
sum stops growing at 2^8 times the size of what is added. Other sums of
bfloat16, and matrix products, are made in float32.
"""

import tensorflow as tf


def add(x, bias):
  """Adds a bias [C] to [..., C]."""
  # Else TensorFlow's gradient is right, and often part of a convolution's.
  return x + bias if x.dtype == tf.bfloat16 else tf.nn.bias_add(x, bias)


def total(x):
  """Sums [..., C] over all but the last axis."""
  x = tf.reshape(x, [-1, x.shape[-1]])
  return tf.linalg.matmul(tf.ones([1, tf.shape(x)[0]], x.dtype), x)[0]
