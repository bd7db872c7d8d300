"""Cases A, state alignment, and G, selection of a source."""

import numpy as np
import pytest
import tensorflow as tf

from coworld_tf.stages import state_alignment

TOLERANCE = {'float64': 1e-10, 'float32': 2e-5}
ALL_MEAN, TIME_SUM = 'mean', 'time_sum'


def softmax(x, axis=-1):
  x = np.exp(x - x.max(axis, keepdims=True))
  return x / x.sum(axis, keepdims=True)


def divergence(p, q):
  return p * (np.log(p) - np.log(q))


def oracle(ours, peer, reduction):
  """Eq. 3 by loops: source first, softmax over features of each frame."""
  batch, length, _ = ours.shape
  kl = sum(
      divergence(softmax(peer[frame]), softmax(ours[frame])).sum()
      for frame in np.ndindex(batch, length))
  return kl / {TIME_SUM: batch, ALL_MEAN: batch * length}[reduction]


def run(ours, peer, reduction):
  ours, peer = tf.constant(ours), tf.constant(peer)
  with tf.GradientTape() as tape:
    tape.watch([ours, peer])
    loss = state_alignment.state_alignment(ours, peer, reduction)
  return loss, *tape.gradient(loss, [ours, peer])


@pytest.fixture(params=['float64', 'float32'])
def embeds(request):
  rng = np.random.default_rng(0)
  return (2 * rng.normal(size=[2, 3, 4, 5])).astype(request.param)


@pytest.mark.parametrize('reduction', [TIME_SUM, ALL_MEAN])
def test_loss_and_gradient_follow_the_equation(embeds, reduction):
  ours, peer = embeds
  tolerance = TOLERANCE[ours.dtype.name]
  loss, grad, peer_grad = run(ours, peer, reduction)
  wide = ours.astype('f8'), peer.astype('f8')
  np.testing.assert_allclose(loss, oracle(*wide, reduction), tolerance)
  count = {TIME_SUM: 3, ALL_MEAN: 3 * 4}[reduction]
  expected = (softmax(wide[0]) - softmax(wide[1])) / count
  np.testing.assert_allclose(grad, expected, tolerance, tolerance)
  assert peer_grad is None


@pytest.mark.parametrize('reduction', [TIME_SUM, ALL_MEAN])
def test_gradient_is_the_slope_of_the_loss(embeds, slope, reduction):
  ours, peer = embeds.astype('f8')
  loss = lambda x: state_alignment.state_alignment(
      tf.constant(x), peer, reduction)
  np.testing.assert_allclose(
      run(ours, peer, reduction)[1], slope(loss, ours), 0, 1e-9)


@pytest.mark.parametrize('reduction', [TIME_SUM, ALL_MEAN])
def test_wrong_readings_of_the_equation_do_not_match(embeds, reduction):
  ours, peer = embeds.astype('f8')
  loss = float(run(ours, peer, reduction)[0])
  frames = {TIME_SUM: 3, ALL_MEAN: 3 * 4}
  terms = lambda axis: divergence(softmax(peer, axis), softmax(ours, axis))
  wrong = {
      'swapped direction': oracle(peer, ours, reduction),
      'softmax over time': terms(1).sum() / frames[reduction],
      'softmax over the batch': terms(0).sum() / frames[reduction],
      'no mean over the batch': terms(-1).sum() / frames[reduction] * 3,
      'mean over features': terms(-1).sum() / frames[reduction] / 5,
      'other reduction': terms(-1).sum() / (3 + 12 - frames[reduction])}
  for name, value in wrong.items():
    assert abs(loss - value) > 1e-2 * abs(loss), name


def test_default_reduction_is_the_released_one(embeds):
  loss = state_alignment.state_alignment(*embeds)
  np.testing.assert_allclose(loss, run(*embeds, TIME_SUM)[0])


def test_low_precision_computes_in_float32(embeds):
  low = tf.cast(embeds, tf.bfloat16)
  loss = state_alignment.state_alignment(low[0], low[1])
  assert loss.dtype == tf.float32
  wide = tf.cast(low, tf.float64).numpy()
  np.testing.assert_allclose(loss, oracle(*wide, TIME_SUM), 2e-5)


@pytest.fixture(params=['float64', 'float32'])
def sources(request):
  """A target's embedding and those of five sources, the nearest twice."""
  rng = np.random.default_rng(0)
  noise = rng.normal(size=[6, 3, 4, 5])
  ours = 2 * noise[0]
  peers = [ours + scale * noise[index + 1]
           for index, scale in enumerate([1.0, 0.5, 2.0, 0.8])]
  peers.insert(3, peers[1])
  return ours.astype(request.param), [x.astype(request.param) for x in peers]


@pytest.mark.parametrize('reduction', [TIME_SUM, ALL_MEAN])
def test_nearest_source_follows_the_equation(sources, reduction):
  ours, peers = sources
  with tf.GradientTape() as tape:
    embed = tf.constant(ours)
    tape.watch(embed)
    distances = state_alignment.distances(embed, peers, reduction)
    index = state_alignment.nearest(distances)
  expected = [
      oracle(ours.astype('f8'), x.astype('f8'), reduction) for x in peers]
  np.testing.assert_allclose(
      distances, expected, TOLERANCE[ours.dtype.name])
  assert index == np.argmin(expected) == 1
  assert tape.gradient(distances, embed) is None


def test_selection_weighs_all_but_one_source_with_zero(sources):
  ours, peers = sources
  embed = tf.constant(ours)
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(embed)
    index = state_alignment.nearest(state_alignment.distances(embed, peers))
    omega = tf.one_hot(index, len(peers), dtype=embed.dtype)
    losses = [state_alignment.state_alignment(embed, x) for x in peers]
    total = tf.tensordot(omega, tf.stack(losses), 1)
  np.testing.assert_array_equal(total, losses[1])
  np.testing.assert_array_equal(
      tape.gradient(total, embed), tape.gradient(losses[1], embed))


@pytest.mark.parametrize('jit', [False, True])
@pytest.mark.parametrize('order, expected', [
    ([0], 0), ([2, 2, 2], 0), ([0, 1, 3], 1), ([2, 3, 0, 1], 1), ([4, 1], 1)])
def test_lowest_index_wins_ties(sources, order, expected, jit):
  ours, peers = sources
  select = tf.function(
      lambda *args: state_alignment.nearest(state_alignment.distances(*args)),
      jit_compile=jit)
  assert select(ours, [peers[number] for number in order]) == expected


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match='time_sum or mean'):
    state_alignment.state_alignment(*tf.zeros([2, 3, 4, 5]), 'batchmean')
  with pytest.raises(ValueError, match='shape'):
    state_alignment.state_alignment(tf.zeros([3, 4, 5]), tf.zeros([3, 1, 5]))
