"""Case E, the minimum-maximum constraint of the critic."""

import numpy as np
import pytest
import tensorflow as tf

from coworld_tf.stages import value_constraint

TOLERANCE = {'float64': 1e-10, 'float32': 2e-5}
PEER_SHIFT = {'source above': 9.0, 'target above': -9.0, 'mixed': 0.0}


def run(value, peer, weight, mode='max', alpha=1.0):
  inputs = [tf.constant(x) for x in (value, peer, weight)]
  with tf.GradientTape() as tape:
    tape.watch(inputs)
    loss = alpha * value_constraint.value_constraint(*inputs, mode)
  return loss, tape.gradient(loss, inputs)


@pytest.fixture(params=['float64', 'float32'])
def arrays(request):
  rng = np.random.default_rng(0)
  value, peer = rng.normal(size=[2, 5, 4])
  weight = np.cumprod(rng.uniform(0.5, 1, [5, 4]), 0)
  return [x.astype(request.param) for x in (value, peer, weight)]


@pytest.mark.parametrize('alpha', [0.0, 1.0, 2.0])
@pytest.mark.parametrize('case', PEER_SHIFT)
def test_loss_and_gradient_follow_the_equation(arrays, case, alpha):
  value, peer, weight = arrays
  peer = peer + np.asarray(PEER_SHIFT[case], peer.dtype)
  above = {'source above': 0, 'target above': 1}.get(case)
  assert above is None or ((value > peer) == above).all()
  loss, (grad, peer_grad, weight_grad) = run(
      value, peer, weight, alpha=alpha)
  v, u, w = (x.astype('f8') for x in (value, peer, weight))
  tolerance = TOLERANCE[value.dtype.name]
  np.testing.assert_allclose(
      loss, alpha * np.mean(w * np.where(v > u, v, u)), tolerance, 1e-12)
  np.testing.assert_allclose(
      grad, alpha * w * (v > u) / v.size, tolerance, 1e-12)
  assert peer_grad is None and weight_grad is None


@pytest.mark.parametrize('alpha', [0.0, 1.0, 2.0])
def test_without_max_the_peer_does_not_matter(arrays, alpha):
  value, peer, weight = arrays
  loss, (grad, peer_grad, weight_grad) = run(
      value, peer, weight, 'direct', alpha)
  v, w = value.astype('f8'), weight.astype('f8')
  tolerance = TOLERANCE[value.dtype.name]
  np.testing.assert_allclose(
      loss, alpha * np.mean(w * v), tolerance, tolerance)
  np.testing.assert_allclose(grad, alpha * w / v.size, tolerance)
  assert peer_grad is None and weight_grad is None


@pytest.mark.parametrize('mode', ['max', 'direct'])
def test_gradient_is_the_slope_of_the_loss(arrays, slope, mode):
  value, peer, weight = [x.astype('f8') for x in arrays]
  assert np.abs(value - peer).min() > 1e-3  # Away from the kink.
  loss = lambda x: value_constraint.value_constraint(
      tf.constant(x), peer, tf.constant(weight), mode)
  _, (grad, _, _) = run(value, peer, weight, mode)
  np.testing.assert_allclose(grad, slope(loss, value), 0, 1e-9)


def test_ties_push_down(arrays):
  value, _, weight = arrays
  _, (grad, _, _) = run(value, value, weight)
  np.testing.assert_allclose(grad, weight / weight.size, 2e-5)


@pytest.mark.parametrize('alpha', [0.5, 2.0])
@pytest.mark.parametrize('peer', [-1.0, 0.0, 1.0, 3.0])
def test_minimizer_of_a_single_state(peer, alpha):
  target, one = 1.0, np.ones([1, 1])
  values = np.linspace(-2, 4, 121)
  losses = [
      0.5 * (value - target) ** 2 + run(
          value * one, peer * one, one, alpha=alpha)[0].numpy()
      for value in values]
  expected = target if target <= peer else max(peer, target - alpha)
  np.testing.assert_allclose(values[np.argmin(losses)], expected, 0, 1e-10)


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match='max or direct'):
    run(*np.zeros([3, 2, 2]), 'min')
  with pytest.raises(ValueError, match='shape'):
    run(np.zeros([3, 2]), np.zeros([3, 2]), np.zeros([3, 1]))
