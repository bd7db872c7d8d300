"""Offline DV2 (Lu et al., 2023): a model first, then a policy that heeds it.

    phase           what learns
    target_model    the world model; each time step trains one prior head
    target          actor and critic in imagination; the model is frozen

Where the prior heads disagree, the model has seen few data. Rewards of
imagined states are lowered by `offline_dv2.penalty` times the disagreement.
"""

import tensorflow as tf

from dreamerv2_base import agent, stateless


def disagreement(mean):
  """Mean distance of K prior heads to their average.

  Args:
    mean: means of all heads, [K, T, N, S, C] of classes (probabilities), or
      [K, T, N, S] of Gaussians; the norm runs over S and C together.

  Returns:
    [T, N], float32 or wider; at most 5.24 for 7 heads and 32 variables of
    classes. Heads that agree exactly give exactly 0, and a gradient of 0.
  """
  wide = tf.float64 if mean.dtype == tf.float64 else tf.float32
  mean = tf.cast(tf.reshape(mean, [*mean.shape[:3], -1]), wide)
  # Relative to a head first, because the average of equal numbers is rounded.
  offset = mean - mean[:1]
  offset -= tf.reduce_mean(offset, 0)
  square = tf.reduce_sum(tf.square(offset), -1)
  # The root has an infinite slope at 0, which `where` alone makes NaN.
  apart = square > 0
  root = tf.sqrt(tf.where(apart, square, tf.ones_like(square)))
  return tf.reduce_mean(tf.where(apart, root, tf.zeros_like(root)), 0)


class OfflineDV2(tf.Module):
  """An agent that learns from a dataset in two phases."""

  def __init__(self, config, target):
    """Takes the agent.

    Args:
      config: configuration, see configs/defaults.yaml.
      target: dreamerv2_base.agent.Agent.

    Raises:
      ValueError: there is a penalty, but a single prior head.
    """
    super().__init__()
    self.sources, self.target = [], target
    self.penalty = config.offline_dv2.penalty
    if self.penalty and config.rssm.ensemble < 2:
      raise ValueError(
          'rssm.ensemble: 1 prior head cannot disagree; set it to 7, or '
          'offline_dv2.penalty to 0')
    self.train_target_model = target.train_model
    self.train_target = agent.compiled(self._train_target, config.compile)

  def _train_target(self, batch):
    """Updates actor and critic; returns metrics."""
    target, (model_seed, behavior_seed) = self.target, self.target.seeds()
    return target.make([target.ac], lambda: target.ac.train(
        target.wm, self._posteriors(batch, model_seed), batch['is_terminal'],
        behavior_seed, reward=self.penalized))

  def _posteriors(self, batch, seed):
    """Returns states [B, L, ...], drawn as in an update of the model."""
    wm, (seed, _) = self.target.wm, tf.unstack(stateless.split(seed, 2))
    obs = wm.preprocess(batch)
    post, _ = wm.rssm.observe(
        wm.encoder(obs), obs['action'], obs['is_first'], seed)
    return post

  def penalized(self, seq):
    """Rewards of an imagined sequence, lowered where the heads disagree.

        States:       [z0]  [z1]  [z2]  [z3]
        Predicted:    [r0]  [r1]  [r2]  [r3]
        Disagreement: [u0]  [u1]  [u2]  [u3]    of the priors at each state
        Rewards:       r0    r1    r2    r3     r - penalty * u

    The gradient reaches the actor through both. Returns leave out the last.

    Args:
      seq: see WorldModel.imagine.

    Returns:
      [H + 1, N] rewards and dict of metrics.
    """
    wm = self.target.wm
    priors = wm.rssm.get_dist(wm.rssm.prior_stats(seq['deter']))
    distance = disagreement(priors.mean())
    penalty = self.penalty * distance
    reward = wm.heads['reward'](seq['feat']).mode() - penalty
    return reward, {
        'disagreement': tf.reduce_mean(distance),
        'penalty': tf.reduce_mean(penalty)}
