"""Stage B: the source learns what the target's rewards are (Eq. 4, 5)."""

import tensorflow as tf


def aligned_reward(predicted, recorded, k):
  """Relabels target data for the source's reward head (Eq. 4).

  Args:
    predicted: [B, L] mode of the source's reward head on target sequences.
    recorded: [B, L] rewards of the target dataset.
    k: weight of the recorded reward.

  Returns:
    [B, L] labels, constant: no gradient.
  """
  return tf.stop_gradient((1 - k) * predicted + k * recorded)


def source_share(step, duration, final=0.1):
  """Weight eta of the source's own reward loss: linear from 1 to `final`.

  Args:
    step: scalar, source steps since the first aligned one; a variable or
      tensor, so that the weight moves inside compiled functions.
    duration: steps until `final` is reached.
    final: weight from then on.

  Returns:
    Scalar float32.
  """
  done = tf.cast(step, tf.float32) / tf.cast(duration, tf.float32)
  return 1.0 - (1.0 - final) * tf.clip_by_value(done, 0.0, 1.0)


def mixed_reward_loss(source_nll, target_nll, eta):
  """Mixes the reward losses on source data and relabelled target data (Eq. 5).

  Args:
    source_nll: scalar, negative log-likelihood of source rewards.
    target_nll: scalar, the same of relabelled target rewards.
    eta: weight of the first, in [0, 1].

  Returns:
    Scalar.
  """
  return eta * source_nll + (1 - eta) * target_nll
