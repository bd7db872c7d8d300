"""Lambda-returns (paper Eq. 8)."""

import tensorflow as tf


def lambda_return(reward, value, discount, bootstrap, lambda_):
  """Mixes n-step returns, computed backwards in time.

      V_t = r_t + g_t * ((1 - lambda) * v_{t+1} + lambda * V_{t+1}),  V_H = v_H

      States:    z0   z1   z2   z3
      Rewards:  [r0] [r1] [r2]  r3     predicted at the state, as r_t is
      Values:    v0  [v1] [v2] [v3]    v3 is the bootstrap
      Discount: [g0] [g1] [g2]  g3
      Returns:   V0   V1   V2

  Args:
    reward: [H, ...] rewards r_0 to r_{H-1}.
    value: [H, ...] values v_0 to v_{H-1}.
    discount: [H, ...] discount factors g_0 to g_{H-1}, or one number.
    bootstrap: [...] value v_H of the last state.
    lambda_: 0 gives one-step returns, 1 discounted sums of rewards.

  Returns:
    [H, ...] returns V_0 to V_{H-1}.
  """
  discount = discount * tf.ones_like(reward)
  assert reward.shape == value.shape, (reward.shape, value.shape)
  next_value = tf.concat([value[1:], bootstrap[None]], 0)
  one_step = reward + discount * (1 - lambda_) * next_value
  returns = [bootstrap]
  for step in reversed(range(reward.shape[0])):
    returns.append(one_step[step] + discount[step] * lambda_ * returns[-1])
  return tf.stack(returns[:0:-1], 0)
