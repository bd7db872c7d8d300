import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import layers


def draw(*shape):
  return np.random.default_rng(0).normal(size=shape).astype('f4')


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize('norm', [True, False])
def test_gru_follows_its_equations(norm):
  cell = layers.GRUCell(3, 4, norm, layers.Init(0))
  x, state = draw(2, 3), draw(2, 4)
  parts = np.concatenate([x, state], -1) @ cell.layer.kernel.numpy()
  if norm:
    mean, var = parts.mean(-1, keepdims=True), parts.var(-1, keepdims=True)
    parts = (parts - mean) / np.sqrt(var + 1e-3)
  reset, candidate, update = np.split(parts, 3, -1)
  candidate = np.tanh(sigmoid(reset) * candidate)
  update = sigmoid(update - 1)
  np.testing.assert_allclose(
      cell(tf.constant(x), tf.constant(state)),
      update * candidate + (1 - update) * state, 1e-4, 1e-6)


@pytest.mark.parametrize('size', [1, 3])
def test_deconv_is_the_transpose_of_a_convolution(size):
  layer = layers.Deconv(2, 3, 5, layers.Init(0))
  x = draw(4, size, size, 2)
  out = layer(tf.constant(x))
  assert out.shape == (4, 2 * size + 3, 2 * size + 3, 3)
  # <deconv(x), y> = <x, conv(y)> for any y.
  y = np.random.default_rng(1).normal(size=out.shape).astype('f4')
  conv = tf.nn.conv2d(y, layer.kernel, 2, 'VALID')
  np.testing.assert_allclose(
      np.sum(out * y), np.sum(x * conv), 1e-3)


def test_dense_maps_the_last_axis():
  layer = layers.Dense(3, 2, layers.Init(0))
  layer.bias.assign([1, 2])
  x = draw(4, 5, 3)
  np.testing.assert_allclose(
      layer(tf.constant(x)), x @ layer.kernel.numpy() + [1, 2], 1e-4, 1e-6)


@pytest.mark.parametrize('mode', [None, False, True])
def test_layer_norm_and_its_gradient(mode):
  def plain(x):
    mean, var = tf.nn.moments(x, [-1], keepdims=True)
    return (x - mean) / tf.sqrt(var + 1e-3)
  # A row without variance, and rows far from zero.
  x = draw(3, 4, 7) * np.array([[[0.0]], [[0.1]], [[5.0]]], 'f4') + 3
  slope = np.random.default_rng(1).normal(size=x.shape)
  def differentiate(function, x):
    with tf.GradientTape() as tape:
      tape.watch(x)
      y = function(x)
      value = tf.reduce_sum(tf.cast(slope, x.dtype) * y)
    return y, tape.gradient(value, x)
  expected = differentiate(plain, tf.constant(x, tf.float64))
  step = lambda x: differentiate(layers.normalized, x)
  if mode is not None:
    step = tf.function(step, jit_compile=mode)
  for left, right in zip(step(tf.constant(x)), expected, strict=True):
    np.testing.assert_allclose(left, right, 1e-4, 1e-4)


def test_low_precision_keeps_float32_weights():
  layer = layers.Conv(3, 2, 4, layers.Init(0, tf.bfloat16))
  assert layer(tf.constant(draw(1, 8, 8, 3))).dtype == tf.bfloat16
  assert layer.kernel.dtype == tf.float32


def test_unknown_names_are_errors():
  with pytest.raises(ValueError, match="activation 'swish'"):
    layers.get_act('swish')
  with pytest.raises(ValueError, match="norm 'batch'"):
    layers.get_norm('batch', 3)
