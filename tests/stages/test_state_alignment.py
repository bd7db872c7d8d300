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


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match='time_sum or mean'):
    state_alignment.state_alignment(*tf.zeros([2, 3, 4, 5]), 'batchmean')
  with pytest.raises(ValueError, match='shape'):
    state_alignment.state_alignment(tf.zeros([3, 4, 5]), tf.zeros([3, 1, 5]))
