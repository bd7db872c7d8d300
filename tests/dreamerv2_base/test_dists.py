import statistics

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_base import dists, stateless

SEED = tf.constant([3, 5])
CURVE = statistics.NormalDist()
PARAMETERS = [(0.0, 1.0), (0.6, 0.3), (-0.95, 0.1), (0.9, 2.1)]


def truncated(loc, scale, kind=dists.TruncatedNormal):
  return kind(loc, scale, -1.0, 1.0)


def density(dist, points=20_001):
  """Points between the bounds, density there, and the trapezoids' widths."""
  edge = 1 - 1e-6
  x = np.linspace(-edge, edge, points)
  weight = np.full(points, x[1] - x[0])
  weight[[0, -1]] /= 2
  log_prob = dist.log_prob(tf.constant(x, tf.float32)).numpy()
  return x, np.exp(log_prob.astype('f8')), weight


@pytest.fixture(scope='module')
def logits():
  return tf.constant(np.random.default_rng(0).normal(size=[4, 5]), tf.float32)


def test_one_hot_follows_its_closed_forms(logits):
  dist = dists.OneHot(logits=logits, dtype=tf.float32)
  probs = tf.nn.softmax(tf.cast(logits, tf.float64)).numpy()
  best = np.eye(5)[probs.argmax(-1)]
  np.testing.assert_array_equal(dist.mode(), best)
  np.testing.assert_allclose(
      dist.log_prob(best), np.log(probs.max(-1)), 2e-5)
  np.testing.assert_allclose(
      dist.entropy(), -(probs * np.log(probs)).sum(-1), 2e-5)
  samples = dist.sample(20_000, seed=SEED).numpy()
  np.testing.assert_allclose(samples.sum(-1), 1, 1e-6)
  np.testing.assert_allclose(samples.mean(0), probs, 0, 0.015)


def test_one_hot_gradient_passes_straight_through(logits):
  weight = np.random.default_rng(1).normal(size=[4, 5])
  with tf.GradientTape() as tape:
    tape.watch(logits)
    sample = dists.OneHot(logits=logits, dtype=tf.float32).sample(seed=SEED)
    value = tf.reduce_sum(sample * weight.astype('f4'))
  probs = tf.nn.softmax(tf.cast(logits, tf.float64)).numpy()
  expected = probs * (weight - (probs * weight).sum(-1, keepdims=True))
  np.testing.assert_allclose(tape.gradient(value, logits), expected, 1e-4)


@pytest.mark.parametrize('classes', [1, 2, 32])
def test_classes_are_chosen_by_inversion(classes):
  rng = np.random.default_rng(0)
  probs = rng.dirichlet(np.full(classes, 0.2), [50, 3]).astype('f4')
  noise = rng.uniform(size=[4, 50, 3]).astype('f4')
  sums = probs.astype('f8').cumsum(-1)
  expected = [
      [[np.searchsorted(sums[row, place], x) for place, x in enumerate(places)]
       for row, places in enumerate(rows)] for rows in noise]
  found = dists.choose(tf.constant(probs), tf.constant(noise)).numpy()
  np.testing.assert_array_equal(found.sum(-1), 1)
  np.testing.assert_array_equal(found.argmax(-1), expected)


def test_classes_without_probability_are_never_chosen():
  probs = np.zeros([20, 40], np.float32)
  for row, share in zip(probs, range(20)):
    row[row.size - 20 - share:][:share + 1] = 1 / (share + 1)
  ends = np.broadcast_to(
      np.float32([[2.0 ** -24], [1 - 2.0 ** -24]]), [2, 20])
  found = dists.choose(tf.constant(probs), tf.constant(ends)).numpy()
  np.testing.assert_array_equal(found.sum(-1), 1)
  assert (found * probs).sum(-1).all()


def test_normal_sample_is_reparameterized():
  loc, scale = tf.constant(0.7), tf.constant(0.4)
  with tf.GradientTape() as tape:
    tape.watch([loc, scale])
    sample = dists.Normal(loc, scale).sample(20_000, seed=SEED)
    mean = tf.reduce_mean(sample)
  np.testing.assert_allclose(mean, 0.7, 0, 0.01)
  np.testing.assert_allclose(tf.math.reduce_std(sample), 0.4, 0, 0.01)
  noise = (mean - 0.7) / 0.4
  np.testing.assert_allclose(
      tape.gradient(mean, [loc, scale]), [1, noise], 1e-4, 1e-6)


@pytest.mark.parametrize('loc, scale', PARAMETERS)
def test_truncated_normal_integrates_to_one(loc, scale):
  dist = truncated(loc, scale)
  x, prob, weight = density(dist)
  np.testing.assert_allclose(prob @ weight, 1, 1e-4)
  bell = np.exp(-0.5 * ((x - loc) / scale) ** 2)
  np.testing.assert_allclose(prob, bell / (bell @ weight), 2e-4, 1e-6)
  np.testing.assert_allclose(
      dist.entropy(), -(weight * prob) @ np.log(prob + 1e-300), 1e-3, 1e-4)
  np.testing.assert_allclose(dist.mode(), loc, 2e-5)
  assert np.isneginf(dist.log_prob([-1.1, 1.1])).all()


@pytest.mark.parametrize('loc, scale', PARAMETERS)
def test_truncated_normal_samples_follow_the_density(loc, scale):
  dist, count = truncated(loc, scale), 20_000
  samples = np.sort(dist.sample(count, seed=SEED))
  assert -1 < samples[0] and samples[-1] < 1
  x, prob, weight = density(dist)
  expected = np.interp(samples, x, np.cumsum(prob * weight))
  distance = np.abs(expected - (np.arange(count) + 0.5) / count).max()
  assert distance < 1.63 / count ** 0.5  # One per cent level.


@pytest.mark.parametrize('loc, scale', PARAMETERS)
def test_official_sample_gradient_ignores_the_bounds(loc, scale):
  loc, scale = tf.fill([50], loc), tf.fill([50], scale)
  with tf.GradientTape() as tape:
    tape.watch([loc, scale])
    sample = truncated(loc, scale).sample(seed=SEED)
  to_loc, to_scale = tape.gradient(sample, [loc, scale])
  np.testing.assert_allclose(to_loc, np.ones(50), 2e-5)
  np.testing.assert_allclose(to_scale, (sample - loc) / scale, 1e-4, 1e-4)


@pytest.mark.parametrize('loc, scale', PARAMETERS[:2])
def test_exact_sample_gradient_is_that_of_the_quantile(loc, scale):
  share = stateless.uniform([1, 20], SEED)[0].numpy().astype('f8')
  def quantile(loc, scale):
    low, high = (CURVE.cdf((x - loc) / scale) for x in (-1, 1))
    return loc + scale * np.array(
        [CURVE.inv_cdf(low + u * (high - low)) for u in share])
  step = 1e-5
  differences = [
      (quantile(loc + a, scale + b) - quantile(loc - a, scale - b)) / 2 / step
      for a, b in [(step, 0), (0, step)]]
  locs, scales = tf.fill([20], loc), tf.fill([20], scale)
  with tf.GradientTape() as tape:
    tape.watch([locs, scales])
    kind = dists.ExactTruncatedNormal
    sample = truncated(locs, scales, kind).sample(seed=SEED)
  np.testing.assert_allclose(sample, quantile(loc, scale), 1e-4, 1e-5)
  grads = tape.gradient(sample, [locs, scales])
  np.testing.assert_allclose(grads, differences, 1e-3, 1e-4)
  assert np.abs(grads[0] - 1).max() > 0.1


@pytest.mark.parametrize('loc, scale', [(0.0, 0.5), (0.8, 0.3)])
def test_tanh_normal_follows_its_closed_forms(loc, scale):
  dist = dists.tanh_normal(loc, scale)
  x, prob, weight = density(dist)
  bell = statistics.NormalDist(loc, scale)
  expected = [bell.pdf(np.arctanh(y)) / (1 - y * y) for y in x]
  np.testing.assert_allclose(prob, expected, 2e-3, 2e-3)
  entropy = -(weight * prob) @ np.log(prob + 1e-300)
  np.testing.assert_allclose(dist.entropy(), entropy, 0, 0.15)
  mode = float(dist.mode())
  assert np.exp(dist.log_prob(mode)) > 0.98 * prob.max()
  assert mode == float(dist.mode())


@pytest.mark.parametrize('scale', [0.1, 1.0, 50.0])
def test_tanh_normal_is_finite_at_the_borders(scale):
  loc = tf.constant([5.0, -5.0, 0.0])
  with tf.GradientTape() as tape:
    tape.watch(loc)
    dist = dists.tanh_normal(loc, scale)
    values = [
        dist.log_prob(1.0), dist.log_prob(-1.0), dist.entropy(), dist.mode(),
        dist.log_prob(dist.sample(seed=SEED))]
    total = tf.add_n(values)
  assert np.isfinite(values).all()
  assert np.isfinite(tape.gradient(total, loc)).all()


DISTS = {
    'one_hot': lambda: dists.OneHot(
        logits=tf.constant([[0.3, -1.0, 0.9]] * 20), dtype=tf.float32),
    'normal': lambda: dists.Normal(tf.zeros(20), 2.0),
    'truncated': lambda: truncated(tf.linspace(-0.9, 0.9, 20), 0.7),
    'tanh': lambda: dists.tanh_normal(tf.linspace(-2.0, 2.0, 20), 0.5)}


@pytest.mark.parametrize('name', DISTS)
def test_a_seed_gives_one_sample_in_every_mode(name):
  draw = lambda seed: DISTS[name]().sample(3, seed=seed)
  sample = draw(SEED)
  np.testing.assert_array_equal(sample, draw(SEED))
  assert np.abs(sample - draw(SEED + 1)).max() > 0.1
  for jit in (False, True):
    other = tf.function(draw, jit_compile=jit)(SEED)
    np.testing.assert_allclose(sample, other, 1e-5, 1e-6)


def test_noise_has_the_same_bits_in_every_mode():
  draw = lambda seed: stateless.uniform([1000], seed)
  noise = draw(SEED)
  assert 0 < noise.numpy().min() and noise.numpy().max() < 1
  np.testing.assert_allclose(tf.reduce_mean(noise), 0.5, 0, 0.03)
  for jit in (False, True):
    np.testing.assert_array_equal(
        noise, tf.function(draw, jit_compile=jit)(SEED))


def test_seeds_are_independent():
  seeds = [*stateless.split(SEED, 4).numpy().tolist()]
  seeds += [stateless.fold_in(SEED, n).numpy().tolist() for n in range(4)]
  assert len({tuple(seed) for seed in seeds}) == 8


def test_integers_cover_their_range():
  draws = {int(stateless.integer(seed, 3))
           for seed in stateless.split(SEED, 50)}
  assert draws == {0, 1, 2}


@pytest.mark.parametrize('rank', [0, 2])
def test_unit_normal_is_a_normal_of_scale_one(rank):
  rng = np.random.default_rng(0)
  loc, value = tf.constant(rng.normal(size=[2, 3, 4, 5]), tf.float32)
  plain = lambda loc, rank: tfd.Independent(tfd.Normal(loc, 1.0), rank)
  results = []
  for make in (dists.unit_normal, plain):
    with tf.GradientTape() as tape:
      tape.watch([loc, value])
      dist = make(loc, rank)
      log_prob = dist.log_prob(value)
    results.append(
        [log_prob, *tape.gradient(log_prob, [loc, value]), dist.mode()])
  for left, right in zip(*results):
    np.testing.assert_allclose(left, right, 1e-5, 1e-6)


def test_samples_pass_their_gradient_to_the_probabilities():
  numbers = np.random.default_rng(0).normal(size=[2, 4, 3])
  logits, slope = tf.constant(numbers, tf.float32)
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(logits)
    sample = dists.OneHot(logits, dtype=tf.float32).sample(seed=[1, 2])
    loss = tf.reduce_sum(slope * sample)
    expected = tf.reduce_sum(slope * tf.nn.softmax(logits))
  assert set(np.unique(sample)) == {0, 1}
  np.testing.assert_allclose(
      tape.gradient(loss, logits), tape.gradient(expected, logits), 1e-5)
