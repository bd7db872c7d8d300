"""Adam with clipping, decoupled weight decay and dynamic loss scaling."""

import types

import numpy as np
import tensorflow as tf

BETA1, BETA2 = 0.9, 0.999


class Optimizer(tf.Module):
  """Updates a fixed list of variables; all its state exists from the start.

  With float16 compute, the loss is scaled up before differentiation. If any
  gradient is not finite, the update is skipped and the scale is halved; after
  2000 finite updates in a row it doubles.
  """

  def __init__(
      self, name, variables, lr, eps=1e-5, clip=100.0, wd=0.0,
      dtype=tf.float32):
    """Builds the optimizer.

    Args:
      name: prefix of the metrics.
      variables: what to update.
      lr: learning rate.
      eps: Adam's epsilon.
      clip: largest global norm of the gradient, 0 for none.
      wd: share by which every variable decays at each update.
      dtype: compute type of the model; float16 turns loss scaling on.
    """
    super().__init__()
    self._name, self.targets = name, list(variables)
    self.lr, self.eps, self.clip, self.wd = lr, eps, clip, wd
    zeros = lambda: [
        tf.Variable(tf.zeros_like(x), trainable=False) for x in self.targets]
    self.first, self.second = zeros(), zeros()
    self.count = tf.Variable(0, trainable=False, dtype=tf.int64)
    if dtype == tf.float16:
      self.scale = tf.Variable(2.0 ** 15, trainable=False)
      self.finite = tf.Variable(0, trainable=False, dtype=tf.int64)
    else:
      self.scale = None
    # Of the last gradient, by variable; neither saved nor among `variables`.
    self.last = types.SimpleNamespace(
        squares=tf.Variable(tf.zeros(len(self.targets)), trainable=False))

  def __call__(self, tape, loss):
    """Differentiates the loss on the tape and applies one update.

    Args:
      tape: tf.GradientTape that recorded the loss.
      loss: float32 scalar.

    Returns:
      Dict of scalar metrics.
    """
    assert loss.dtype == tf.float32 and loss.shape == [], loss
    name = self._name
    metrics = {f'{name}_loss': loss}
    if self.scale is None:
      grads = tape.gradient(loss, self.targets)
    else:
      metrics[f'{name}_loss_scale'] = tf.identity(self.scale)
      with tape:
        loss = loss * self.scale
      grads = tape.gradient(loss, self.targets)
    unused = [
        x.name for x, g in zip(self.targets, grads, strict=True) if g is None]
    assert not unused, f'{name} loss does not depend on {unused}'
    if self.scale is not None:
      grads = [x / self.scale for x in grads]
    squares = tf.stack([tf.nn.l2_loss(x) for x in grads])
    self.last.squares.assign(squares)
    norm = tf.sqrt(2.0 * tf.reduce_sum(squares))
    metrics[f'{name}_grad_norm'] = norm
    apply = None if self.scale is None else self._rescale(norm)
    if self.clip:
      grads = [g * (self.clip / tf.maximum(norm, self.clip)) for g in grads]
    metrics[f'{name}_weight_norm'] = self._adam(grads, apply)
    return metrics

  def faulty(self, metrics):
    """Returns the variables whose gradient was not finite.

    Args:
      metrics: of the last update; others had nothing to do with it.
    """
    if f'{self._name}_grad_norm' not in metrics:
      return []
    finite = np.isfinite(self.last.squares)
    return [x for x, y in zip(self.targets, finite, strict=True) if not y]

  def _rescale(self, norm):
    finite = tf.math.is_finite(norm)
    grow = tf.logical_and(finite, self.finite >= 1999)
    factor = tf.where(finite, tf.where(grow, 2.0, 1.0), 0.5)
    self.scale.assign(tf.maximum(self.scale * factor, 1.0))
    restart = tf.logical_or(grow, tf.logical_not(finite))
    self.finite.assign(tf.where(restart, tf.zeros_like(self.finite),
                                self.finite + 1))
    return finite

  def _adam(self, grads, apply):
    """Updates all variables, if `apply` is None or true; returns their norm.
    """
    def update():
      count = tf.cast(self.count.assign_add(1), tf.float32)
      for var, grad, first, second in zip(
          self.targets, grads, self.first, self.second, strict=True):
        if self.wd:
          var.assign((1 - self.wd) * var)
        # All of Adam in one pass over the memory.
        tf.raw_ops.ResourceApplyAdam(
            var=var.handle, m=first.handle, v=second.handle,
            beta1_power=BETA1 ** count, beta2_power=BETA2 ** count,
            lr=self.lr, beta1=BETA1, beta2=BETA2, epsilon=self.eps, grad=grad)
      return self.count.read_value()
    if apply is None:
      update()
    else:
      tf.cond(apply, update, self.count.read_value)
    return tf.linalg.global_norm(self.targets)
