"""Updates that are made as a whole or, if a number fails, not at all."""

import tensorflow as tf


def whole(variables, update):
  """Makes an update and undoes it if any of its metrics is not finite.

  Losses, norms of gradients and norms of weights are among the metrics, so
  what is kept is finite in every variable. A gradient that overflows under a
  loss scale above 1 is not a fault: its optimizer skips it and lowers the
  scale.

  Args:
    variables: all that the update may change.
    update: function that makes it and returns a dict of scalar metrics.

  Returns:
    The metrics and `skipped`, 1 if all variables are as before, else 0.
  """
  # What was read stays as it is: assignments give a variable a new buffer.
  before = [(x, x.read_value()) for x in variables]
  metrics = update()
  finite = tf.reduce_all(tf.math.is_finite(tf.stack(
      [tf.cast(x, tf.float32) for x in _checked(metrics)])))
  def undo():
    for var, value in before:
      var.assign(value)
    return finite
  tf.cond(finite, lambda: finite, undo)
  return {**metrics, 'skipped': 1.0 - tf.cast(finite, tf.float32)}


def _checked(metrics):
  """Values of an update that must be finite."""
  for name, value in metrics.items():
    scale = metrics.get(name.replace('_grad_norm', '_loss_scale'), 0.0)
    if name.endswith('_grad_norm'):
      value = tf.where(scale > 1.0, 0.0, value)
    yield value
