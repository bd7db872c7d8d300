"""Encoder, decoder and heads."""

import math
import re

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_base import dists, layers


def select(shapes, pattern, rank):
  """Returns the sorted keys of that rank whose names match the pattern."""
  return sorted(
      key for key, shape in shapes.items()
      if len(shape) == rank and re.match(pattern, key))


def flatten_batch(x, rank):
  """Merges all but the last `rank` axes; returns it and their sizes."""
  batch = layers.sizes(x, -rank)
  return tf.reshape(x, [-1, *x.shape[-rank:]]), batch


class Stack(tf.Module):
  """Dense layers, each followed by normalization and activation."""

  def __init__(self, inputs, widths, act, norm, init):
    super().__init__()
    self.act = layers.get_act(act)
    sizes = [inputs, *widths]
    self.size = sizes[-1]
    self.layers = [
        layers.Dense(*pair, init) for pair in zip(sizes, sizes[1:])]
    self.norms = [layers.get_norm(norm, width) for width in widths]

  def __call__(self, x):
    """Maps [..., inputs] to [..., widths[-1]]."""
    # As one batch throughout, so that products and activations are fused.
    x, batch = flatten_batch(x, 1)
    for layer, norm in zip(self.layers, self.norms, strict=True):
      x = self.act(norm(layer(x)))
    return tf.reshape(x, [*batch, self.size])


class Encoder(tf.Module):
  """Embeds images by convolutions and vectors by dense layers."""

  def __init__(
      self, shapes, init, cnn_keys='image', mlp_keys='$^', act='elu',
      norm='none', cnn_depth=48, cnn_kernels=(4, 4, 4, 4),
      mlp_layers=(400, 400, 400, 400)):
    """Builds the encoder.

    Args:
      shapes: name -> shape of every observation.
      init: layers.Init.
      cnn_keys: pattern of the images to read, matched at the start.
      mlp_keys: pattern of the vectors to read.
      act: activation.
      norm: none or layer.
      cnn_depth: channels of the first layer, doubled at each next one.
      cnn_kernels: kernel size of each layer; strides are 2.
      mlp_layers: width of each dense layer.

    Raises:
      ValueError: no observation matches.
    """
    super().__init__()
    self.cnn_keys = select(shapes, cnn_keys, 3)
    self.mlp_keys = select(shapes, mlp_keys, 1)
    self.act, self.size = layers.get_act(act), 0
    if not self.cnn_keys + self.mlp_keys:
      raise ValueError(
          f"encoder: cnn_keys '{cnn_keys}' and mlp_keys '{mlp_keys}' match "
          f'none of the observations {sorted(shapes)}')
    if self.cnn_keys:
      height, width = shapes[self.cnn_keys[0]][:2]
      depth = sum(shapes[key][2] for key in self.cnn_keys)
      self.convs, self.norms = [], []
      for index, kernel in enumerate(cnn_kernels):
        inputs, depth = depth, 2 ** index * cnn_depth
        self.convs.append(layers.Conv(inputs, depth, kernel, init))
        self.norms.append(layers.get_norm(norm, depth))
        height, width = (height - kernel) // 2 + 1, (width - kernel) // 2 + 1
      self.size += height * width * depth
    if self.mlp_keys:
      inputs = sum(shapes[key][0] for key in self.mlp_keys)
      self.mlp = Stack(inputs, mlp_layers, act, norm, init)
      self.size += self.mlp.size

  def __call__(self, obs):
    """Maps preprocessed observations [..., shape] to [..., size]."""
    outs = []
    if self.cnn_keys:
      x = tf.concat([obs[key] for key in self.cnn_keys], -1)
      x, batch = flatten_batch(x, 3)
      for conv, norm in zip(self.convs, self.norms, strict=True):
        x = self.act(norm(conv(x)))
      outs.append(tf.reshape(x, [*batch, math.prod(x.shape[1:])]))
    if self.mlp_keys:
      outs.append(self.mlp(tf.concat([obs[key] for key in self.mlp_keys], -1)))
    return tf.concat(outs, -1)


class Decoder(tf.Module):
  """Predicts images by transposed convolutions and vectors by dense layers."""

  def __init__(
      self, feat, shapes, init, cnn_keys='image', mlp_keys='$^', act='elu',
      norm='none', cnn_depth=48, cnn_kernels=(5, 5, 6, 6),
      mlp_layers=(400, 400, 400, 400)):
    """Builds the decoder; arguments as for the encoder, `feat` inputs.

    Raises:
      ValueError: the kernels do not give images of the observed size.
    """
    super().__init__()
    self.shapes = shapes
    self.cnn_keys = select(shapes, cnn_keys, 3)
    self.mlp_keys = select(shapes, mlp_keys, 1)
    self.act = layers.get_act(act)
    if self.cnn_keys:
      depth, size = 32 * cnn_depth, 1
      self.dense = layers.Dense(feat, depth, init)
      self.deconvs, self.norms = [], []
      for index, kernel in enumerate(cnn_kernels):
        last = index == len(cnn_kernels) - 1
        inputs, size = depth, 2 * (size - 1) + kernel
        depth = int(2 ** (len(cnn_kernels) - index - 2) * cnn_depth)
        if last:
          depth = sum(shapes[key][2] for key in self.cnn_keys)
        self.deconvs.append(layers.Deconv(inputs, depth, kernel, init))
        self.norms.append(layers.get_norm('none' if last else norm, depth))
      for key in self.cnn_keys:
        if shapes[key][:2] != (size, size):
          raise ValueError(
              f"decoder: kernels {list(cnn_kernels)} give {size}x{size} "
              f"images, but '{key}' is {shapes[key]}")
    if self.mlp_keys:
      self.mlp = Stack(feat, mlp_layers, act, norm, init)
      self.outs = {
          key: DistLayer(self.mlp.size, shapes[key], init)
          for key in self.mlp_keys}

  def __call__(self, feat):
    """Maps features [..., F] to a dict of distributions of observations."""
    outs = {}
    if self.cnn_keys:
      x, batch = flatten_batch(self.dense(feat), 1)
      x = x[:, None, None, :]
      for deconv, norm in zip(self.deconvs, self.norms, strict=True):
        act = tf.identity if deconv is self.deconvs[-1] else self.act
        fused = norm is tf.identity
        x = deconv(x, act) if fused else act(norm(deconv(x)))
      x = tf.reshape(tf.cast(x, tf.float32), [*batch, *x.shape[1:]])
      channels = [self.shapes[key][2] for key in self.cnn_keys]
      for key, mean in zip(
          self.cnn_keys, tf.split(x, channels, -1), strict=True):
        outs[key] = dists.unit_normal(mean, 3)
    if self.mlp_keys:
      x = self.mlp(feat)
      outs.update({key: layer(x) for key, layer in self.outs.items()})
    return outs


class MLP(tf.Module):
  """Dense layers that end in a distribution: reward, discount, actor, ..."""

  def __init__(
      self, inputs, shape, init, layers, units, act='elu', norm='none',
      **dist):
    super().__init__()
    self.stack = Stack(inputs, [units] * layers, act, norm, init)
    self.out = DistLayer(self.stack.size, shape, init, **dist)

  def __call__(self, feat):
    """Maps features [..., inputs] to a distribution over [..., *shape]."""
    return self.dist(self.params(feat))

  def params(self, feat):
    """Maps features [..., inputs] to the parameters of the distribution."""
    return self.out.params(self.stack(feat))

  def dist(self, params):
    """Returns the distribution of given parameters."""
    return self.out.dist(params)


class DistLayer(tf.Module):
  """Last layer of a head: the parameters of a distribution, in float32.

  Distributions: `mse` (normal of variance 1), `normal`, `binary`, `onehot`,
  `trunc_normal` and `tanh_normal` over actions in (-1, 1), and
  `unclipped_normal`, the truncated normal without its bounds.
  """

  STD = {
      'normal': tf.nn.softplus,
      'tanh_normal': tf.nn.softplus,
      'trunc_normal': lambda x: 2 * tf.sigmoid(x / 2),
      'unclipped_normal': lambda x: 2 * tf.sigmoid(x / 2),
  }

  TRUNCATED = {
      'official': dists.TruncatedNormal, 'exact': dists.ExactTruncatedNormal}

  def __init__(
      self, inputs, shape, init, dist='mse', min_std=0.1, init_std=0.0,
      sample_grad='official'):
    super().__init__()
    if dist not in (*self.STD, 'mse', 'binary', 'onehot'):
      raise ValueError(
          f"unknown distribution '{dist}', use mse, binary, onehot or one of "
          + ', '.join(self.STD))
    if sample_grad not in self.TRUNCATED:
      raise ValueError(f"sample_grad: '{sample_grad}', use official or exact")
    self.shape, self.kind = shape, dist
    self.min_std, self.init_std = min_std, init_std
    self.sample_grad = sample_grad
    # A value of some hundreds would be some units off in 16 bits.
    make = lambda: layers.Dense(inputs, math.prod(shape), init, tf.float32)
    self.mean = make()
    if dist in self.STD:
      self.std = make()

  def __call__(self, x):
    """Maps [..., inputs] to a distribution over [..., *shape]."""
    return self.dist(self.params(x))

  def params(self, x):
    """Maps [..., inputs] to float32 `mean` and, of some, `std`, both raw."""
    shape = [*layers.sizes(x, -1), *self.shape]
    read = lambda layer: tf.reshape(layer(x), shape)
    params = {'mean': read(self.mean)}
    if self.kind in self.STD:
      params['std'] = read(self.std)
    return params

  def dist(self, params):
    """Returns the distribution of what `params` gave."""
    out = params['mean']
    if self.kind == 'onehot':
      return dists.OneHot(logits=out, dtype=tf.float32)
    if self.kind in self.STD:
      std = self.STD[self.kind](params['std'] + self.init_std) + self.min_std
    if self.kind == 'mse':
      return dists.unit_normal(out, len(self.shape))
    if self.kind == 'normal':
      dist = dists.Normal(out, std)
    elif self.kind == 'binary':
      dist = tfd.Bernoulli(out, dtype=tf.float32)
    elif self.kind == 'trunc_normal':
      dist = self.TRUNCATED[self.sample_grad](tf.tanh(out), std, -1.0, 1.0)
    elif self.kind == 'unclipped_normal':
      dist = dists.Normal(tf.tanh(out), std)
    else:
      dist = dists.tanh_normal(5 * tf.tanh(out / 5), std)
    return tfd.Independent(dist, len(self.shape))
