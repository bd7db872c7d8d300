"""Fast forms of convolutions are the plain ones, in value and gradient."""

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import convolutions

# Of the largest entry; products of rounded numbers, rounded once more.
TOLERANCES = {
    'float32': 1e-5, 'bfloat16': 4 * 2 ** -8, 'float16': 4 * 2 ** -11}


def draw(seed, *shape):
  values = np.random.default_rng(seed).normal(size=shape)
  return tf.constant(values, tf.float32)


def plain_conv(x, kernel):
  return tf.nn.conv2d(x, kernel, 2, 'VALID')


def plain_deconv(x, kernel, bias=None):
  """Sums the kernels of all pixels, each where its pixel is."""
  size, _, depth, _ = kernel.shape
  height, width = [2 * (n - 1) + size for n in x.shape[1:3]]
  parts = []
  for row in range(x.shape[1]):
    for column in range(x.shape[2]):
      part = tf.einsum('ni,abdi->nabd', x[:, row, column], kernel)
      top, left = 2 * row, 2 * column
      parts.append(tf.pad(part, [
          [0, 0], [top, height - size - top], [left, width - size - left],
          [0, 0]]))
  result = tf.add_n(parts)
  return result if bias is None else tf.nn.elu(result + bias)


def evaluate(function, inputs, compiled=False):
  """Value of a function and gradients of a projection of it."""
  def run(*inputs):
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      result = function(*inputs)
      wide = tf.cast(result, tf.float32)
      loss = tf.reduce_sum(wide * draw(9, *result.shape))
    return [result, *tape.gradient(loss, inputs)]
  if compiled:
    run = tf.function(run, jit_compile=True, autograph=False)
  return [tf.cast(x, tf.float32).numpy() for x in run(*inputs)]


def assert_same(fast, plain, inputs, dtype):
  expected = evaluate(plain, inputs)
  low = [tf.cast(x, dtype) for x in inputs]
  for compiled in (False, True):
    for left, right in zip(evaluate(fast, low, compiled), expected):
      error = np.abs(left - right).max() / np.abs(right).max()
      assert error < TOLERANCES[dtype]


@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('size, kernel', [(6, 4), (7, 4), (5, 2), (4, 4)])
def test_patches(size, kernel, dtype):
  inputs = draw(0, 3, size, size + 1, 2), draw(1, kernel, kernel, 2, 5)
  fast = lambda x, kernel: convolutions._conv_of_patches(
      x, convolutions._by_blocks(kernel))
  assert_same(fast, plain_conv, inputs, dtype)


@pytest.mark.parametrize('size', [6, 8, 9])
@pytest.mark.parametrize('kernel', [3, 4])
def test_conv_chooses_a_form(size, kernel):
  inputs = draw(0, 3, size, size, 2), draw(1, kernel, kernel, 2, 5)
  assert_same(convolutions.conv, plain_conv, inputs, 'float32')


@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('kernel', [2, 4, 6])
def test_subpixels(kernel, dtype):
  inputs = draw(0, 3, 2, 3, 4), draw(1, kernel, kernel, 5, 4)
  assert_same(convolutions._deconv_of_subpixels, plain_deconv, inputs, dtype)


@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('size', [1, 3])
@pytest.mark.parametrize('kernel', [5, 6])
def test_deconv_elu(kernel, size, dtype):
  inputs = (
      draw(0, 3, size, size, 4), draw(1, kernel, kernel, 5, 4), draw(2, 5))
  assert_same(convolutions.deconv_elu, plain_deconv, inputs, dtype)


@pytest.mark.parametrize('size', [1, 3])
@pytest.mark.parametrize('kernel', [5, 6])
@pytest.mark.parametrize('depth', [3, 5])
def test_deconv_chooses_a_form(depth, kernel, size):
  inputs = draw(0, 3, size, size, 4), draw(1, kernel, kernel, depth, 4)
  assert_same(convolutions.deconv, plain_deconv, inputs, 'float32')
