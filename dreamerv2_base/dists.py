"""Distributions with stateless sampling on top of TensorFlow Probability.

Each class overrides TFP's sampling hook only. All parameters are float32.
"""

import math

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from dreamerv2_base import stateless


class OneHot(tfd.OneHotCategorical):
  """One-hot classes; gradients pass straight through to the probabilities.

  Call with dtype=tf.float32, the type of samples and mode.
  """

  def _sample_n(self, n, seed=None):
    probs = self.probs_parameter()
    shape = tf.concat([[n], tf.shape(probs)[:-1]], 0)
    return _straight_through(
        choose(probs, stateless.uniform(shape, seed)), probs)


def choose(probs, noise):
  """Draws one-hot classes by inversion.

  Takes one random number for all classes, where Gumbel noise takes one for
  each, and no logarithms. GPUs that multiply in TF32 round the probabilities
  to eleven binary digits.

  Args:
    probs: probabilities [..., C], float32.
    noise: [n, ...] in the open interval (0, 1).

  Returns:
    [n, ..., C], float32.
  """
  classes = probs.shape[-1]
  # Sums of the first 1 to C; faster on CPU than tf.cumsum.
  triangle = tf.constant(np.triu(np.ones([classes, classes])), probs.dtype)
  sums = tf.linalg.matmul(tf.reshape(probs, [-1, classes]), triangle)
  sums = tf.reshape(sums, tf.shape(probs))
  # Below the last sum, which rounding leaves near 1.
  mark = tf.cast(noise, sums.dtype) * sums[..., -1]
  choice = tf.reduce_sum(tf.cast(sums <= mark[..., None], tf.int32), -1)
  return tf.one_hot(choice, classes, dtype=probs.dtype)


@tf.custom_gradient
def _straight_through(sample, probs):
  """Returns the sample; its gradient goes to the probabilities."""
  def gradient(upstream):
    # Several samples share their probabilities.
    return None, tf.reduce_sum(upstream, 0)
  return tf.identity(sample), gradient


class Normal(tfd.Normal):
  """Normal distribution, reparameterized."""

  def _sample_n(self, n, seed=None):
    shape = tf.concat([[n], tf.shape(self.loc)], 0)
    return self.loc + self.scale * stateless.normal(shape, seed)


class UnitNormal(tfd.Independent):
  """Normals of scale 1 as one event, whose density takes few passes."""

  def _log_prob(self, value):
    event = self.event_shape.as_list()
    square = tf.math.squared_difference(value, self.distribution.loc)
    square = tf.reduce_sum(square, list(range(-len(event), 0)))
    constant = 0.5 * math.log(2 * math.pi) * math.prod(event)
    return -0.5 * square - constant


def unit_normal(loc, rank):
  """Returns normals of scale 1 whose last `rank` axes are one event."""
  return UnitNormal(Normal(loc, 1.0), rank)


class TruncatedNormal(tfd.TruncatedNormal):
  """Truncated normal, sampled by inversion.

  A sample is differentiated as location plus scale times constant noise, as
  TFP's sampler and DreamerV2 do.
  """

  exact = False

  def _sample_n(self, n, seed=None):
    loc, scale = self.loc, self.scale
    shape = tf.concat([[n], tf.shape(loc)], 0)
    below = lambda bound: tf.math.erfc((loc - bound) / scale * 0.5 ** 0.5) / 2
    low, high = below(self.low), below(self.high)
    share = low + stateless.uniform(shape, seed) * (high - low)
    # Shares of 0 or 1 would give an infinite sample and no gradient.
    share = tf.clip_by_value(share, 1e-7, 1 - 1e-7)
    sample = loc + scale * tf.math.ndtri(share)
    if not self.exact:
      sample = loc + scale * tf.stop_gradient((sample - loc) / scale)
    inside = tf.clip_by_value(sample, self.low + 1e-6, self.high - 1e-6)
    return sample + tf.stop_gradient(inside - sample)


class ExactTruncatedNormal(TruncatedNormal):
  """The same, whose gradient follows the bounds as well."""

  exact = True


class TanhNormal(tfd.TransformedDistribution):
  """A squashed `Normal`; entropy and mode are estimated from 100 samples."""

  def _samples(self):
    # A fixed seed keeps both estimates deterministic functions of loc, scale.
    noise = self.distribution.sample(100, tf.constant([17, 100]))
    return tf.clip_by_value(tf.tanh(noise), -1 + 1e-6, 1 - 1e-6)

  def _log_prob(self, value):
    # The inverse of tanh is infinite at the borders.
    return super()._log_prob(
        tf.clip_by_value(value, -1 + 1e-6, 1 - 1e-6))

  def _entropy(self):
    return -tf.reduce_mean(self.log_prob(self._samples()), 0)

  def _mode(self):
    samples = self._samples()
    best = tf.argmax(self.log_prob(samples), 0)
    best = tf.one_hot(best, 100, axis=0)
    return tf.reduce_sum(best * samples, 0)


def tanh_normal(loc, scale):
  """Returns the distribution of tanh(x) for normal x."""
  return TanhNormal(Normal(loc, scale), tfb.Tanh())
