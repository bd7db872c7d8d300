"""Stage C: the source critic bounds the target critic (Eq. 6)."""

import tensorflow as tf


def value_constraint(value, peer_value, weight, mode='max'):
  """Penalizes values where they exceed the peer's; all arguments [H, N].

      States:    z0    z1    z2    z3      imagined from target data
      Values:   [v0]  [v1]  [v2]   v3
      Peer:     (u0)  (u1)  (u2)           source critic, same features
      Weights:  ( 1)  (w1)  (w2)
      Loss:      c0    c1    c2            c = w * max(v, u)

  The gradient with respect to a value is its weight where value >= peer, and
  zero elsewhere, divided by the number of elements. The caller multiplies by
  alpha, which is in units of return.

  Args:
    value: values of the critic that learns.
    peer_value: values of the peer, taken as constant.
    weight: cumulative discounts, taken as constant.
    mode: 'max' as in Eq. 6, 'direct' without the maximum (brute force).

  Returns:
    Scalar.

  Raises:
    ValueError: the mode is unknown or the shapes differ.
  """
  if not value.shape == peer_value.shape == weight.shape:
    raise ValueError(
        'value, peer_value and weight differ in shape: '
        f'{value.shape}, {peer_value.shape}, {weight.shape}')
  if mode == 'max':
    bound = tf.maximum(value, tf.stop_gradient(peer_value))
  elif mode == 'direct':
    bound = value
  else:
    raise ValueError(f"coworld.constraint: '{mode}', use max or direct")
  return tf.reduce_mean(tf.stop_gradient(weight) * bound)
