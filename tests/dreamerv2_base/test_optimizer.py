import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import optimizer

BIG = 3e38


class Problem:
  """Fits two variables to targets; the loss may be scaled at each step."""

  def __init__(self, **options):
    rng = np.random.default_rng(0)
    self.start = [rng.normal(size=shape) for shape in ([3, 4], [5])]
    self.goal = [rng.normal(size=x.shape) for x in self.start]
    self.vars = [tf.Variable(x, dtype=tf.float32) for x in self.start]
    self.opt = optimizer.Optimizer('fit', self.vars, **options)

  def step(self, scale=1.0):
    with tf.GradientTape() as tape:
      loss = scale * tf.add_n([
          tf.reduce_sum((x - tf.cast(y, tf.float32)) ** 2) / 2
          for x, y in zip(self.vars, self.goal)])
    return {key: float(x) for key, x in self.opt(tape, loss).items()}

  def state(self):
    variables = [*self.vars, *self.opt.first, *self.opt.second]
    return [x.numpy() for x in variables]


def oracle(problem, scales, lr, eps, clip, wd):
  """Adam of float64 numbers, from its textbook form."""
  x = [value.copy() for value in problem.start]
  first, second = [0, 0], [0, 0]
  for count, scale in enumerate(scales, 1):
    grads = [scale * (a - b) for a, b in zip(x, problem.goal)]
    norm = np.sqrt(sum((g ** 2).sum() for g in grads))
    if clip and norm > clip:
      grads = [g * clip / norm for g in grads]
    for i, g in enumerate(grads):
      first[i] = 0.9 * first[i] + 0.1 * g
      second[i] = 0.999 * second[i] + 0.001 * g ** 2
      bias = np.sqrt(1 - 0.999 ** count) / (1 - 0.9 ** count)
      x[i] = x[i] * (1 - wd)
      x[i] = x[i] - lr * bias * first[i] / (np.sqrt(second[i]) + eps)
  return x, norm


@pytest.mark.parametrize('dtype', [tf.float32, tf.float16])
@pytest.mark.parametrize('clip', [0.0, 1.5, 100.0])
@pytest.mark.parametrize('wd', [0.0, 0.02])
def test_ten_updates_follow_the_oracle(clip, wd, dtype):
  options = {'lr': 0.05, 'eps': 1e-3, 'clip': clip, 'wd': wd}
  problem = Problem(**options, dtype=dtype)
  scales = np.linspace(0.2, 2, 10)
  for scale in scales:
    metrics = problem.step(scale)
  expected, norm = oracle(problem, scales, **options)
  # In float32 the bias correction 1 - 0.999 is good to 6e-5 of itself.
  for var, value in zip(problem.vars, expected):
    np.testing.assert_allclose(var, value, 2e-5, 1e-5)
  np.testing.assert_allclose(metrics['fit_grad_norm'], norm, 2e-5)


def test_clipping_was_needed_above():
  problem = Problem(lr=0.05, clip=1.5)
  assert problem.step()['fit_grad_norm'] > 1.5


def test_overflow_skips_the_update_and_recovers():
  problem = Problem(lr=0.1, wd=0.1, dtype=tf.float16)
  before = problem.state()
  assert problem.step(BIG)['fit_loss_scale'] == 2 ** 15
  assert float(problem.opt.scale) == 2 ** 14
  assert int(problem.opt.count) == 0
  for old, new in zip(before, problem.state()):
    np.testing.assert_array_equal(old, new)
  problem.step()
  plain = Problem(lr=0.1, wd=0.1)
  plain.step()
  for ours, other in zip(problem.state(), plain.state()):
    np.testing.assert_allclose(ours, other, 1e-5, 1e-9)
  problem.step(np.nan)
  problem.step(BIG)
  assert float(problem.opt.scale) == 2 ** 12
  assert all(np.isfinite(x).all() for x in problem.state())


def test_scale_doubles_after_many_finite_updates():
  problem = Problem(lr=1e-3, dtype=tf.float16)
  problem.opt.finite.assign(1998)
  problem.step()
  assert float(problem.opt.scale) == 2 ** 15
  problem.step()
  assert float(problem.opt.scale) == 2 ** 16
  assert int(problem.opt.finite) == 0
  problem.opt.finite.assign(1999)
  problem.step(BIG)
  assert float(problem.opt.scale) == 2 ** 15
  assert int(problem.opt.finite) == 0


def test_scale_stays_at_least_one():
  problem = Problem(lr=1e-3, dtype=tf.float16)
  problem.opt.scale.assign(1.0)
  problem.step(np.nan)
  assert float(problem.opt.scale) == 1


@pytest.mark.parametrize('dtype', [tf.float32, tf.float16])
def test_variable_without_gradient_is_an_error(dtype):
  used, unused = tf.Variable(1.0), tf.Variable(1.0, name='unused')
  opt = optimizer.Optimizer('fit', [used, unused], 0.1, dtype=dtype)
  with tf.GradientTape() as tape:
    loss = used ** 2
  with pytest.raises(AssertionError, match='fit.*unused'):
    opt(tape, loss)
