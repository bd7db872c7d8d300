"""CoWorld's pair of agents and the four steps that train it.

    step            data                      losses
    source          source replay             Eq. 2; 10, 11
    source_aligned  source replay, target     Eq. 2 with 5 and 4; 10, 11
    target_model    target dataset            Eq. 3
    target          target dataset            Eq. 3; 7, 6

The two agents share no variables. Each step updates one of them and takes
everything of the other as constant.
"""

import tensorflow as tf

from coworld_tf import action_adapter
from coworld_tf.stages import (
  reward_alignment,
  state_alignment,
  value_constraint,
)
from dreamerv2_base import agent

# Key of target batches that carry what the source's encoder makes of them.
PEER = 'peer_embed'


class CoWorldPair(tf.Module):
  """A source and a target agent that teach each other."""

  def __init__(self, config, source, target, eta_steps, prefill_steps=0):
    """Ties the agents together.

    Args:
      config: configuration, see configs/defaults.yaml.
      source: dreamerv2_base.agent.Agent of the simulator.
      target: the same for the offline dataset.
      eta_steps: agent steps over which eta falls, at least 1.
      prefill_steps: agent steps taken at random, for eta as released.

    Raises:
      ValueError: the agents do not fit together or a switch is unknown.
    """
    super().__init__()
    self.config, self.source, self.target = config, source, target
    self.sources, self.selected = [source], 0
    self.eta_steps, self.prefill_steps = eta_steps, prefill_steps
    # Source agent steps since stage B began; set by the trainer.
    self.aligned_steps = tf.Variable(0, trainable=False, dtype=tf.int64)
    sizes = [
        (x.wm.encoder.size, x.wm.rssm.feat_size) for x in (source, target)]
    if sizes[0] != sizes[1]:
      raise ValueError(
          'source and target differ in their sizes of embedding and feature: '
          f'{sizes[0]} and {sizes[1]}')
    if config.eta.mode not in ('linear', 'code_intended', 'code_frozen'):
      raise ValueError(
          f"eta.mode: '{config.eta.mode}', use linear, code_intended or "
          'code_frozen')
    if config.coworld.target_init == 'from_source':
      self._check_same_shapes()
    compiled = lambda step: agent.compiled(step, config.compile)
    self.embed = compiled(self._embed)
    self.train_source = source.train
    self.train_source_aligned = compiled(self._train_source_aligned)
    self.train_target_model = compiled(self._train_target_model)
    self.train_target = compiled(self._train_target)

  def eta(self):
    """Returns the current weight of the source's own reward loss (Eq. 5)."""
    config = self.config.eta
    if config.mode == 'linear':
      return reward_alignment.source_share(
          self.aligned_steps, self.eta_steps, config.final)
    # The release means the first, but reads the step once, after the prefill.
    step = (
        self.source.step if config.mode == 'code_intended'
        else self.prefill_steps)
    return tf.maximum(1.0 - tf.cast(step, tf.float32) / 2e5, 0.2)

  def hand_over(self):
    """Starts the target's world model from the source's; no metrics."""
    for peer, ours in self._model_pairs():
      ours.assign(peer)
    return {}

  def _check_same_shapes(self):
    for peer, ours in self._model_pairs():
      if peer.shape != ours.shape:
        raise ValueError(
            f'coworld.target_init: from_source, but {peer.name} has shape '
            f'{peer.shape} in the source and {ours.shape} in the target; '
            'their action sizes must agree')

  def _model_pairs(self):
    return zip(
        self.source.wm.opt.targets, self.target.wm.opt.targets, strict=True)

  def _train_source_aligned(self, batch, target_batch):
    """Updates the source agent; stage B mixes target rewards in."""
    def reward(outs):
      target_nll, metrics = self.relabel(target_batch, outs['seed'])
      eta = metrics['eta'] = self.eta()
      return reward_alignment.mixed_reward_loss(
          outs['losses']['reward'], target_nll, eta), metrics
    return self.source.update(batch, model_terms={'reward': reward})

  def _train_target_model(self, batch):
    """Updates the target's world model alone; stage A."""
    return self.target.update_model(batch, {'align': self.align})

  def _train_target(self, batch):
    """Updates the target agent; stages A and C."""
    return self.target.update(
        batch, {'align': self.align}, {'constraint': self.constrain})

  def _embed(self, images):
    """Returns what the source's encoder makes of images [N, H, W, C], uint8.

    While the source rests, `embeddings` keeps it for all images of a dataset.
    """
    wm = self.source.wm
    return wm.encoder(wm.scaled({'image': images}))

  def align(self, outs):
    """Stage A as a loss term of the target's world model (Eq. 3)."""
    obs = outs['obs']
    peer_embed = (
        obs[PEER] if PEER in obs else self.source.wm.encoder(obs))
    kl = state_alignment.state_alignment(
        outs['embed'], peer_embed, self.config.align.reduction)
    loss = self.config.coworld.beta2 * kl
    return loss, {'align_kl': kl, 'align_loss': loss}

  def relabel(self, target_batch, seed):
    """Stage B: loss of the source's reward head on target data (Eq. 4, 5).

    Args:
      target_batch: dict of [B, L, ...] of the target dataset.
      seed: stateless seed of the posterior sample.

    Returns:
      Scalar negative log-likelihood and dict of metrics.
    """
    config, wm = self.config.coworld, self.source.wm
    obs = wm.preprocess(target_batch)
    action = action_adapter.adapt(
        obs['action'], self.source.action_size, config.action_adapter,
        config.semantic_index)
    post, _ = wm.rssm.observe(
        wm.encoder(obs), action, obs['is_first'], seed)
    feat = wm.rssm.get_feat(post)
    if 'reward' not in wm.config.grad_heads:
      feat = tf.stop_gradient(feat)
    dist = wm.heads['reward'](feat)
    predicted = dist.mode()
    label = reward_alignment.aligned_reward(
        predicted, obs['reward'], config.k)
    nll = -tf.reduce_mean(dist.log_prob(label))
    error = tf.reduce_mean(tf.abs(predicted - obs['reward']))
    return nll, {'relabel_loss': nll, 'relabel_error': error}

  def constrain(self, seq, value):
    """Stage C as a loss term of the target's critic (Eq. 6)."""
    feat = tf.stop_gradient(seq['feat'][:-1])
    peer_value = self.source.ac.critic(feat).mode()
    penalty = value_constraint.value_constraint(
        value, peer_value, seq['weight'][:-1], self.config.coworld.constraint)
    loss = self.config.coworld.alpha * penalty
    active = tf.cast(value >= peer_value, tf.float32)
    return loss, {
        'constraint_loss': loss, 'constraint_active': tf.reduce_mean(active),
        'peer_critic': tf.reduce_mean(peer_value)}
