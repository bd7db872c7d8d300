"""Layers as plain tf.Modules; every variable exists after construction.

Weights are float32. Layers compute in the type that `Init` carries (float32,
bfloat16 or float16); layer norm always computes in float32.
"""

import numpy as np
import tensorflow as tf


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


class Dense(tf.Module):
  """Affine map of the last axis, [..., inputs] to [..., units]."""

  def __init__(self, inputs, units, init):
    super().__init__()
    self.dtype = init.dtype
    self.kernel = init.kernel([inputs, units], inputs, units)
    self.bias = constant(units, 0, 'bias')

  def __call__(self, x):
    """Applies the map; tensors of rank above 2 become one matrix product."""
    batch = sizes(x, -1)
    x = tf.reshape(tf.cast(x, self.dtype), [-1, x.shape[-1]])
    x = tf.linalg.matmul(x, tf.cast(self.kernel, self.dtype))
    x = tf.nn.bias_add(x, tf.cast(self.bias, self.dtype))
    return tf.reshape(x, [*batch, x.shape[-1]])


class LayerNorm(tf.Module):
  """Normalizes the last axis in float32 (Keras' epsilon of 1e-3)."""

  def __init__(self, size):
    super().__init__()
    self.scale = constant(size, 1, 'scale')
    self.offset = constant(size, 0, 'offset')

  def __call__(self, x):
    """Returns the normalized tensor in the type of the input."""
    y = tf.cast(x, tf.float32)
    mean, var = tf.nn.moments(y, -1, keepdims=True)
    y = tf.nn.batch_normalization(
        y, mean, var, self.offset, self.scale, 1e-3)
    return tf.cast(y, x.dtype)


class Conv(tf.Module):
  """Strided convolution without padding, NHWC."""

  def __init__(self, inputs, depth, kernel, stride, init):
    super().__init__()
    self.dtype, self.stride = init.dtype, stride
    area = kernel ** 2
    self.kernel = init.kernel(
        [kernel, kernel, inputs, depth], area * inputs, area * depth)
    self.bias = constant(depth, 0, 'bias')

  def __call__(self, x):
    """Maps [N, H, W, inputs] to [N, H', W', depth]."""
    x = tf.nn.conv2d(
        tf.cast(x, self.dtype), tf.cast(self.kernel, self.dtype),
        self.stride, 'VALID')
    return tf.nn.bias_add(x, tf.cast(self.bias, self.dtype))


class Deconv(tf.Module):
  """Transposed strided convolution without padding, NHWC."""

  def __init__(self, inputs, depth, kernel, stride, init):
    super().__init__()
    self.dtype, self.stride = init.dtype, stride
    area = kernel ** 2
    self.kernel = init.kernel(
        [kernel, kernel, depth, inputs], area * inputs, area * depth)
    self.bias = constant(depth, 0, 'bias')

  def __call__(self, x):
    """Maps [N, H, W, inputs] to [N, H', W', depth]."""
    kernel = tf.cast(self.kernel, self.dtype)
    x = tf.cast(x, self.dtype)
    size, _, depth, inputs = kernel.shape
    if x.shape[1:3] == [1, 1]:
      # From a single pixel this is one matrix product, and much faster.
      kernel = tf.reshape(kernel, [-1, inputs])
      x = tf.linalg.matmul(tf.reshape(x, [-1, inputs]), kernel, False, True)
      x = tf.reshape(x, [-1, size, size, depth])
    else:
      height, width = [(n - 1) * self.stride + size for n in x.shape[1:3]]
      shape = [tf.shape(x)[0], height, width, depth]
      x = tf.nn.conv2d_transpose(x, kernel, shape, self.stride, 'VALID')
    return tf.nn.bias_add(x, tf.cast(self.bias, self.dtype))


class GRUCell(tf.Module):
  """GRU with one joint layer norm, a tanh candidate and an update bias."""

  def __init__(self, inputs, size, norm, init):
    super().__init__()
    self.size = size
    self.layer = Dense(inputs + size, 3 * size, init)
    self.norm = LayerNorm(3 * size) if norm else tf.identity

  def __call__(self, x, state):
    """Maps inputs [B, inputs] and state [B, size] to the next state."""
    parts = self.norm(self.layer(tf.concat([x, state], -1)))
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
