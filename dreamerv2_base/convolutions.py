"""Convolutions of stride 2 without padding, as processors do them fastest.

All are linear maps that `tf.nn.conv2d` and `tf.nn.conv2d_transpose` compute as
well; which form is faster depends on the sizes. Images are [N, H, W, C],
kernels [k, k, in, out] as for `tf.nn.conv2d`.
"""

import tensorflow as tf

from dreamerv2_base import biases

STRIDE = 2


def conv(x, kernel):
  """Convolves images [N, H, W, in] to [N, H', W', out], H' = (H - k) // 2 + 1.

  Few output pixels are a matrix product of patches.
  """
  size = kernel.shape[0]
  height, width = [(n - size) // STRIDE + 1 for n in x.shape[1:3]]
  if size % STRIDE == 0 and height * width <= 4:
    return _conv_of_patches(x, _by_blocks(kernel))
  return tf.nn.conv2d(x, kernel, STRIDE, 'VALID')


def deconv(x, kernel):
  """Transposes the convolution of a kernel [k, k, out, in].

  Maps [N, H, W, in] to [N, H', W', out], H' = 2 * (H - 1) + k. From single
  pixels this is a matrix product, and few channels are made as more of them
  at half the resolution.
  """
  size, _, depth, inputs = kernel.shape
  if x.shape[1:3] == [1, 1]:
    x = tf.linalg.matmul(
        tf.reshape(x, [-1, inputs]), tf.reshape(kernel, [-1, inputs]),
        transpose_b=True)
    return tf.reshape(x, [-1, size, size, depth])
  if size % STRIDE == 0 and depth <= 4:
    return _deconv_of_subpixels(x, kernel)
  height, width = [STRIDE * (n - 1) + size for n in x.shape[1:3]]
  return tf.nn.conv2d_transpose(
      x, kernel, [tf.shape(x)[0], height, width, depth], STRIDE, 'VALID')


def deconv_elu(x, kernel, bias):
  """Returns elu(deconv(x, kernel) + bias), in one pass where possible."""
  if x.shape[1:3] != [1, 1] and kernel.shape[0] % STRIDE == 0:
    return _deconv_elu(x, kernel, bias)
  return tf.nn.elu(biases.add(deconv(x, kernel), bias))


@tf.custom_gradient
def _deconv_of_subpixels(x, kernel):
  gradient = lambda upstream: _deconv_gradient(x, kernel, upstream)
  return tf.nn.depth_to_space(_subpixels(x, kernel), STRIDE), gradient


@tf.custom_gradient
def _deconv_elu(x, kernel, bias):
  result = tf.nn.elu(tf.nn.bias_add(
      _subpixels(x, kernel), tf.tile(bias, [STRIDE ** 2])))
  result = tf.nn.depth_to_space(result, STRIDE)

  def gradient(upstream):
    upstream = tf.raw_ops.EluGrad(gradients=upstream, outputs=result)
    return *_deconv_gradient(x, kernel, upstream), biases.total(upstream)

  return result, gradient


def _subpixels(x, kernel):
  """A transposed convolution before `tf.nn.depth_to_space`, k even.

  This is a convolution of stride 1 with four outputs for each of `deconv`.
  """
  size, _, depth, inputs = kernel.shape
  count = size // STRIDE
  # Output pixel 2y + a is a sum over the kernel's rows a, a + 2, ... and the
  # input's rows y, y - 1, ...
  blocks = tf.reshape(
      kernel, [count, STRIDE, count, STRIDE, depth, inputs])
  blocks = tf.transpose(blocks[::-1, :, ::-1], [0, 2, 5, 1, 3, 4])
  blocks = tf.reshape(blocks, [count, count, inputs, STRIDE ** 2 * depth])
  edge = [count - 1, count - 1]
  return tf.nn.conv2d(
      tf.pad(x, [[0, 0], edge, edge, [0, 0]]), blocks, 1, 'VALID')


def _deconv_gradient(x, kernel, upstream):
  """Gradients of `deconv` to images and kernel."""
  to_x = tf.nn.conv2d(upstream, kernel, STRIDE, 'VALID')
  to_kernel = tf.raw_ops.Conv2DBackpropFilter(
      input=upstream, filter_sizes=kernel.shape, out_backprop=x,
      strides=[1, STRIDE, STRIDE, 1], padding='VALID')
  return to_x, to_kernel


@tf.custom_gradient
def _conv_of_patches(x, kernel):
  """A convolution as the product of patches and kernel.

  In blocks of 2 x 2 pixels, a kernel of 2q x 2q pixels has q x q blocks and
  stride 1, so a patch consists of q x q slices of the image.

  Args:
    x: images.
    kernel: see `_by_blocks`.
  """
  count, _, inputs, depth = kernel.shape
  rows, columns = [n // STRIDE for n in x.shape[1:3]]
  height, width = rows - count + 1, columns - count + 1
  places = [(i, j) for i in range(count) for j in range(count)]
  blocks = tf.nn.space_to_depth(
      x[:, :STRIDE * rows, :STRIDE * columns], STRIDE)
  patches = tf.concat(
      [blocks[:, i:i + height, j:j + width] for i, j in places], -1)
  patches = tf.reshape(patches, [-1, count ** 2 * inputs])
  result = tf.linalg.matmul(patches, tf.reshape(kernel, [-1, depth]))

  def gradient(upstream):
    upstream = tf.reshape(upstream, [-1, depth])
    to_kernel = tf.linalg.matmul(patches, upstream, transpose_a=True)
    parts = []
    for i, j in places:
      part = tf.linalg.matmul(upstream, kernel[i, j], transpose_b=True)
      part = tf.reshape(part, [-1, height, width, inputs])
      parts.append(tf.pad(part, [
          [0, 0], [i, rows - height - i], [j, columns - width - j], [0, 0]]))
    to_x = tf.nn.depth_to_space(tf.add_n(parts), STRIDE)
    rest = [n % STRIDE for n in x.shape[1:3]]
    if any(rest):
      to_x = tf.pad(to_x, [[0, 0], [0, rest[0]], [0, rest[1]], [0, 0]])
    return to_x, tf.reshape(to_kernel, kernel.shape)

  return tf.reshape(result, [-1, height, width, depth]), gradient


def _by_blocks(kernel):
  """Kernel [2q, 2q, in, out] by blocks of 2 x 2, [q, q, 4 * in, out]."""
  size, _, inputs, depth = kernel.shape
  count = size // STRIDE
  kernel = tf.reshape(kernel, [count, STRIDE, count, STRIDE, inputs, depth])
  return tf.reshape(
      tf.transpose(kernel, [0, 2, 1, 3, 4, 5]),
      [count, count, STRIDE ** 2 * inputs, depth])
