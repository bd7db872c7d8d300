"""Stateless random numbers that agree bit for bit in every execution mode.

TensorFlow's floating point generators differ between the graph executor and
XLA. Their integer bits do not, so all noise in graphs is made from bits here.
A seed is an int32 tensor of shape [2]; split it before each use.
"""

import tensorflow as tf


def split(seed, count):
  """Returns [count, 2] independent seeds; unpack or scan over them."""
  return tf.random.split(seed, count, alg='philox')


def fold_in(seed, number):
  """Returns the seed of the given step or index."""
  return tf.random.fold_in(seed, tf.cast(number, tf.int32), alg='philox')


def uniform(shape, seed):
  """Returns float32 noise in the open interval (0, 1)."""
  bits = tf.random.stateless_uniform(
      shape, seed, None, None, tf.uint32, alg='philox')
  # The centres of 2^23 equal bins are exact in float32, and never 0 or 1.
  bins = tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32))
  return (tf.cast(bins, tf.float32) + 0.5) * 2.0 ** -23


def normal(shape, seed):
  """Returns standard normal noise."""
  return tf.math.ndtri(uniform(shape, seed))


def integer(seed, limit):
  """Returns a scalar int32 in [0, limit)."""
  index = tf.cast(uniform([], seed) * limit, tf.int32)
  return tf.minimum(index, limit - 1)
