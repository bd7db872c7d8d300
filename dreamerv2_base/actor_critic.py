"""Actor and critic of DreamerV2, trained in imagination (Eq. 7 to 11).

Names differ from upstream in two places, because in this project source and
target are domains: the target critic is `slow_critic` here, and the targets
of the critic are `returns`.
"""

import numpy as np
import tensorflow as tf

from dreamerv2_base import (
  nets,
  optimizer,
  returns,
  schedules,
  stream_norm,
)


class ActorCritic(tf.Module):
  """Learns behavior from imagined sequences."""

  def __init__(self, config, feat, act_space, step, init):
    """Builds actor, critic and slow critic.

    Args:
      config: agent configuration.
      feat: size of the features.
      act_space: space of the actions, Box or Discrete. Dimensions of a Box
        whose bounds coincide are unused, and zero in all actions.
      step: step variable that schedules read.
      init: layers.Init.

    Raises:
      ValueError: a setting cannot be used.
    """
    super().__init__()
    self.config, self.step = config, step
    discrete = hasattr(act_space, 'n')
    actor, self.grad = dict(config.actor), config.actor_grad
    if actor['dist'] == 'auto':
      actor['dist'] = 'onehot' if discrete else 'trunc_normal'
    if config.bug_compat.unclipped_actions and not discrete:
      actor['dist'] = 'unclipped_normal'
    if self.grad == 'auto':
      self.grad = 'reinforce' if discrete else 'dynamics'
    if self.grad not in ('dynamics', 'reinforce', 'both'):
      raise ValueError(
          f"actor_grad: '{self.grad}', use auto, dynamics, reinforce or both")
    for key in ('actor_ent', 'actor_grad_mix'):
      try:
        schedules.schedule(config[key], step)
      except ValueError as error:
        raise ValueError(f'{key}: {error}') from None
    shape = (int(act_space.n),) if discrete else act_space.shape
    used = discrete or act_space.high > act_space.low
    self.mask = None if np.all(used) else tf.constant(used, tf.float32)
    self.actor = nets.MLP(feat, shape, init, **actor)
    self.critic = nets.MLP(feat, (), init, **config.critic)
    self.slow_critic = nets.MLP(feat, (), init, **config.critic)
    for slow, fast in self._slow_pairs():
      slow.assign(fast)
    self.updates = tf.Variable(0, trainable=False, dtype=tf.int64)
    self.rewnorm = stream_norm.StreamNorm(**config.reward_norm)
    make = lambda name, module, options: optimizer.Optimizer(
        name, module.trainable_variables, dtype=init.dtype, **options)
    self.actor_opt = make('actor', self.actor, config.actor_opt)
    self.critic_opt = make('critic', self.critic, config.critic_opt)

  def act(self, feat, seed):
    """Samples actions for features [N, F].

    Returns:
      Actions [N, A], unused dimensions zero, and the parameters of the policy
      that they come from.
    """
    policy = self.actor.params(feat)
    action = self.actor.dist(policy).sample(seed=seed)
    return self.masked(action), policy

  def masked(self, action):
    """Sets the unused dimensions of actions [..., A] to zero."""
    return action if self.mask is None else action * self.mask

  def used(self, policy, statistic, *args):
    """Returns a statistic of a policy, summed over its used dimensions."""
    if self.mask is None:
      return getattr(policy, statistic)(*args)
    parts = getattr(policy.distribution, statistic)(*args)
    return tf.reduce_sum(self.mask * parts, -1)

  def train(
      self, world_model, start, is_terminal, seed, terms=None,
      actor_terms=None, reward=None):
    """Makes one update of actor (Eq. 7) and critic (Eq. 6 or 11).

    Args:
      world_model: WorldModel to imagine with; it is not changed.
      start: posterior states [B, L, ...] to start from.
      is_terminal: [B, L] bool.
      seed: stateless seed.
      terms: name -> function of the imagined sequence and the values
        [H, N] that gives a scalar to add to the critic's loss and a dict of
        metrics.
      actor_terms: name -> function of the imagined sequence that gives a
        scalar to add to the actor's loss and a dict of metrics.
      reward: function of the imagined sequence that gives its rewards
        [H + 1, N] and a dict of metrics; by default what the world model
        predicts.

    Returns:
      Dict of scalar metrics.
    """
    start = tf.nest.map_structure(tf.stop_gradient, start)
    with tf.GradientTape() as tape:
      seq = world_model.imagine(
          self.act, start, is_terminal, self.config.imag_horizon, seed)
      if reward:
        value, metrics = reward(seq)
      else:
        value, metrics = world_model.heads['reward'](seq['feat']).mode(), {}
      seq['reward'], mets = self.rewnorm(value)
      metrics.update(mets)
      target = self.returns(seq)
      loss, mets = self.actor_loss(seq, target)
      metrics.update(mets)
      for term in (actor_terms or {}).values():
        extra, mets = term(seq)
        loss += extra
        metrics.update(mets)
    metrics.update(self.actor_opt(tape, loss))
    with tf.GradientTape() as tape:
      loss, mets = self.critic_loss(seq, target, terms)
    metrics.update(mets, **self.critic_opt(tape, loss))
    self.update_slow_critic()
    return metrics

  def returns(self, seq):
    """Computes lambda-returns [H, N] of an imagined sequence (Eq. 8).

        States:    [z0]  [z1]  [z2]  [z3]
        Rewards:   [r0]  [r1]  [r2]   r3
        Values:    (v0)  [v1]  [v2]  [v3]    of the slow critic
        Discount:  [g0]  [g1]  [g2]   g3
        Returns:    t0    t1    t2
    """
    value = self.slow_critic(seq['feat']).mode()
    result = returns.lambda_return(
        seq['reward'][:-1], value[:-1], seq['discount'][:-1], value[-1],
        self.config.discount_lambda)
    if self.config.bug_compat.reverse_lambda:
      result = tf.reverse(result, [0])
    return result

  def actor_loss(self, seq, target):
    """Computes the actor's loss (Eq. 7); gradient reaches the actor only.

        States:    (z0) > (z1) >  z2 >  z3
        Actions:     0    [a1]   [a2]   a3    a1 is chosen at z0
        Returns:    t0    [t1]   [t2]         t0 does not depend on actions
        Baseline:  (v0)   (v1)
        Entropy:   [e0]   [e1]
        Weights:   ( 1)   (w1)    w2    w3
        Loss:       l0     l1

    Args:
      seq: imagined sequence of H + 1 states, with the policy's parameters.
      target: [H, N] returns.

    Returns:
      Scalar loss and dict of metrics.
    """
    policy = self.actor.dist({key: x[:-1] for key, x in seq['policy'].items()})
    objective, metrics = target[1:], {}
    if self.grad != 'dynamics':
      critic = (
          self.slow_critic if self.config.slow_baseline else self.critic)
      value = critic(tf.stop_gradient(seq['feat'][:-2])).mode()
      advantage = tf.stop_gradient(target[1:] - value)
      action = tf.stop_gradient(seq['action'][1:-1])
      score = self.used(policy, 'log_prob', action) * advantage
      rho = 0.0
      if self.grad == 'both':
        rho = schedules.schedule(self.config.actor_grad_mix, self.step)
        metrics['actor_grad_mix'] = rho
      objective = rho * target[1:] + (1 - rho) * score
    entropy = self.used(policy, 'entropy')
    scale = schedules.schedule(self.config.actor_ent, self.step)
    weight = tf.stop_gradient(seq['weight'][:-2])
    loss = -tf.reduce_mean(weight * (objective + scale * entropy))
    metrics.update(
        actor_ent=tf.reduce_mean(entropy), actor_ent_scale=scale,
        imag_reward=tf.reduce_mean(seq['reward']),
        imag_return=tf.reduce_mean(target))
    return loss, metrics

  def critic_loss(self, seq, target, terms=None):
    """Computes the critic's loss (Eq. 11), plus named terms.

        States:    [z0]  [z1]  [z2]   z3
        Values:    [v0]  [v1]  [v2]   v3
        Weights:   ( 1)  (w1)  (w2)   w3
        Returns:   (t0)  (t1)  (t2)
        Loss:       l0    l1    l2

    Args:
      seq: imagined sequence of H + 1 states.
      target: [H, N] returns.
      terms: as for `train`.

    Returns:
      Scalar loss and dict of metrics.
    """
    dist = self.critic(tf.stop_gradient(seq['feat'][:-1]))
    value = dist.mode()
    weight = tf.stop_gradient(seq['weight'][:-1])
    loss = -tf.reduce_mean(weight * dist.log_prob(tf.stop_gradient(target)))
    metrics = {'critic': tf.reduce_mean(value)}
    for term in (terms or {}).values():
      extra, mets = term(seq, value)
      loss += extra
      metrics.update(mets)
    return loss, metrics

  def update_slow_critic(self):
    """Copies the critic to the slow critic at every n-th update."""
    config = self.config
    due = tf.equal(self.updates % config.slow_target_update, 0)
    share = tf.where(due, config.slow_target_fraction, 0.0)
    share = tf.where(tf.equal(self.updates, 0), 1.0, share)
    for slow, fast in self._slow_pairs():
      slow.assign(share * fast + (1 - share) * slow)
    self.updates.assign_add(1)

  def _slow_pairs(self):
    return zip(
        self.slow_critic.variables, self.critic.variables, strict=True)
