"""Layers as plain tf.Modules; every variable exists after construction.

Weights are float32. Layers compute in the type that `Init` carries (float32,
bfloat16 or float16); layer norm always computes in float32.
"""

import numpy as np
import tensorflow as tf

from dreamerv2_base import biases, convolutions


class Init:
  """Draws initial weights in order of construction and sets compute types."""

  def __init__(self, seed, dtype=tf.float32):
    self.rng = np.random.default_rng(seed)
    self.dtype = tf.as_dtype(dtype)

  def kernel(self, shape, fan_in, fan_out):
    """Returns a variable with Glorot's uniform distribution."""
    limit = np.sqrt(6 / (fan_in + fan_out))
    value = self.rng.uniform(-limit, limit, shape)
    return tf.Variable(value.astype(np.float32), name='kernel')


def constant(size, value, name):
  """Returns a float32 variable of shape [size]."""
  return tf.Variable(np.full(size, value, np.float32), name=name)


def sizes(x, stop=None):
  """Returns the sizes of the first `stop` axes: numbers where known."""
  known = x.shape[:stop].as_list()
  if None not in known:
    return known
  dynamic = tf.unstack(tf.shape(x)[:stop])
  return [
      size if number is None else number
      for number, size in zip(known, dynamic, strict=True)]


def affine(x, kernel, bias, dtype):
  """Maps [..., inputs], rank 2 or more, to [..., units] in one product."""
  batch = sizes(x, -1)
  if len(batch) > 1:
    flat = tf.reshape(x, [-1, x.shape[-1]])
    return tf.reshape(
        affine(flat, kernel, bias, dtype), [*batch, kernel.shape[-1]])
  x = tf.linalg.matmul(tf.cast(x, dtype), tf.cast(kernel, dtype))
  return biases.add(x, tf.cast(bias, dtype))


class Dense(tf.Module):
  """Affine map of the last axis, [N, ..., inputs] to [N, ..., units]."""

  def __init__(self, inputs, units, init, dtype=None):
    """Makes the weights; computes in `dtype`, by default that of `init`."""
    super().__init__()
    self.dtype = dtype or init.dtype
    self.kernel = init.kernel([inputs, units], inputs, units)
    self.bias = constant(units, 0, 'bias')

  def __call__(self, x):
    """Applies the map."""
    return affine(x, self.kernel, self.bias, self.dtype)


class LayerNorm(tf.Module):
  """Normalizes the last axis in float32 (Keras' epsilon of 1e-3)."""

  def __init__(self, size):
    super().__init__()
    self.scale = constant(size, 1, 'scale')
    self.offset = constant(size, 0, 'offset')

  def __call__(self, x):
    """Returns the normalized tensor in the type of the input."""
    y = normalized(tf.cast(x, tf.float32)) * self.scale + self.offset
    return tf.cast(y, x.dtype)


@tf.custom_gradient
def normalized(x):
  """Brings the last axis to mean 0 and variance 1.

  Its gradient keeps the result and a scale for each row, and takes half the
  passes that differentiation of the formula does.
  """
  x -= tf.reduce_mean(x, -1, keepdims=True)
  variance = tf.reduce_mean(tf.square(x), -1, keepdims=True)
  scale = tf.math.rsqrt(variance + 1e-3)
  y = x * scale
  def gradient(upstream):
    mean = tf.reduce_mean(upstream, -1, keepdims=True)
    slope = tf.reduce_mean(upstream * y, -1, keepdims=True)
    return scale * (upstream - mean - y * slope)
  return y, gradient


class Conv(tf.Module):
  """Convolution of stride 2 without padding, NHWC."""

  def __init__(self, inputs, depth, kernel, init):
    super().__init__()
    self.dtype = init.dtype
    area = kernel ** 2
    self.kernel = init.kernel(
        [kernel, kernel, inputs, depth], area * inputs, area * depth)
    self.bias = constant(depth, 0, 'bias')

  def __call__(self, x):
    """Maps [N, H, W, inputs] to [N, H', W', depth]."""
    x = convolutions.conv(
        tf.cast(x, self.dtype), tf.cast(self.kernel, self.dtype))
    return biases.add(x, tf.cast(self.bias, self.dtype))


class Deconv(tf.Module):
  """Transposed convolution of stride 2 without padding, NHWC."""

  def __init__(self, inputs, depth, kernel, init):
    super().__init__()
    self.dtype = init.dtype
    area = kernel ** 2
    self.kernel = init.kernel(
        [kernel, kernel, depth, inputs], area * inputs, area * depth)
    self.bias = constant(depth, 0, 'bias')

  def __call__(self, x, act=tf.identity):
    """Maps [N, H, W, inputs] to [N, H', W', depth]; act is elementwise."""
    x, kernel, bias = [
        tf.cast(x, self.dtype) for x in (x, self.kernel, self.bias)]
    if act is tf.nn.elu:
      return convolutions.deconv_elu(x, kernel, bias)
    return act(biases.add(convolutions.deconv(x, kernel), bias))


class GRUCell(tf.Module):
  """GRU with one joint layer norm, a tanh candidate and an update bias.

  States and gates are float32, since small changes add up over many steps.
  """

  def __init__(self, inputs, size, norm, init):
    super().__init__()
    self.size = size
    self.layer = Dense(inputs + size, 3 * size, init)
    self.norm = LayerNorm(3 * size) if norm else tf.identity

  def __call__(self, x, state):
    """Maps inputs [B, inputs] and state [B, size] to the next state."""
    x = self.layer(tf.concat([x, tf.cast(state, x.dtype)], -1))
    parts = self.norm(tf.cast(x, state.dtype))
    reset, candidate, update = tf.split(parts, 3, -1)
    candidate = tf.tanh(tf.sigmoid(reset) * candidate)
    # The bias of -1 makes the cell remember by default.
    update = tf.sigmoid(update - 1)
    return update * candidate + (1 - update) * state


def get_act(name):
  """Returns the activation function of that name.

  Raises:
    ValueError: the name is unknown.
  """
  if name == 'none':
    return tf.identity
  if name == 'mish':
    return lambda x: x * tf.tanh(tf.nn.softplus(x))
  if name in ('elu', 'relu', 'gelu', 'silu', 'tanh', 'sigmoid'):
    return getattr(tf.nn, name)
  raise ValueError(f"unknown activation '{name}', use elu, relu or none")


def get_norm(name, size):
  """Returns a normalization layer: 'none' or 'layer'.

  Raises:
    ValueError: the name is unknown.
  """
  if name == 'none':
    return tf.identity
  if name == 'layer':
    return LayerNorm(size)
  raise ValueError(f"unknown norm '{name}', use none or layer")
