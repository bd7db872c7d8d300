"""World model of DreamerV2: representation, dynamics and heads (Eq. 1, 2)."""

import tensorflow as tf

from dreamerv2_base import loops, nets, optimizer, rssm, stateless

REWARD_TRANSFORMS = {
    'identity': tf.identity, 'sign': tf.sign, 'tanh': tf.tanh}


class WorldModel(tf.Module):
  """Learns latent dynamics from sequences and imagines new ones."""

  def __init__(self, config, obs_space, action, init):
    """Builds encoder, RSSM, heads and their optimizer.

    Args:
      config: agent configuration.
      obs_space: name -> space of observations.
      action: size of the action.
      init: layers.Init.
    """
    super().__init__()
    self.config, self.action_size = config, action
    shapes = {key: tuple(x.shape) for key, x in obs_space.items()}
    self.encoder = nets.Encoder(shapes, init, **config.encoder)
    self.rssm = rssm.RSSM(
        self.encoder.size, action, init, unroll=config.unroll, **config.rssm)
    feat = self.rssm.feat_size
    self.heads = {
        'decoder': nets.Decoder(feat, shapes, init, **config.decoder),
        'reward': nets.MLP(feat, (), init, **config.reward_head)}
    if config.pred_discount:
      self.heads['discount'] = nets.MLP(
          feat, (), init, **config.discount_head)
    unknown = set(config.grad_heads) - set(self.heads)
    if unknown:
      raise ValueError(
          f'grad_heads: {sorted(unknown)} not among {sorted(self.heads)}')
    self.transform = REWARD_TRANSFORMS[config.clip_rewards]
    modules = [self.encoder, self.rssm, *self.heads.values()]
    self.opt = optimizer.Optimizer(
        'model', [v for m in modules for v in m.trainable_variables],
        dtype=init.dtype, **config.model_opt)

  def train(self, batch, seed, terms=None):
    """Makes one update (Eq. 2); returns outputs of the loss and metrics."""
    with tf.GradientTape() as tape:
      loss, outs, metrics = self.loss(batch, seed, terms)
    return outs, {**metrics, **self.opt(tape, loss)}

  def loss(self, batch, seed, terms=None):
    """Computes the weighted sum of all losses.

    Decoder outputs that loss_scales does not name have weight 1.

    Args:
      batch: dict of [B, L, ...] as stored in episodes.
      seed: stateless seed.
      terms: name -> function of the outputs that gives a scalar and a dict
        of metrics. The name of a loss replaces that loss before weighting;
        other names are added as they are.

    Returns:
      Scalar loss, dict of outputs (obs, embed, post, prior, feat, losses and
      a seed for the terms), dict of metrics.
    """
    observe_seed, term_seed = tf.unstack(stateless.split(seed, 2))
    obs = self.preprocess(batch)
    embed = self.encoder(obs)
    post, prior = self.rssm.observe(
        embed, obs['action'], obs['is_first'], observe_seed)
    feat = self.rssm.get_feat(post)
    kl_loss, kl = self.rssm.kl_loss(post, prior, **self.config.kl)
    losses = {'kl': kl_loss}
    for key, dist in self._predict(feat).items():
      losses[key] = -tf.reduce_mean(dist.log_prob(obs[key]))
    outs = {
        'obs': obs, 'embed': embed, 'post': post, 'prior': prior,
        'feat': feat, 'losses': dict(losses), 'seed': term_seed}
    metrics, extra = {f'{key}_loss': x for key, x in losses.items()}, []
    for key, term in (terms or {}).items():
      value, mets = term(outs)
      metrics.update(mets)
      if key in losses:
        losses[key] = value
      else:
        extra.append(value)
    scales = self.config.loss_scales
    weighted = [scales.get(key, 1.0) * x for key, x in losses.items()]
    entropy = lambda state: tf.reduce_mean(
        self.rssm.get_dist(state).entropy())
    metrics.update(
        kl=tf.reduce_mean(kl), prior_ent=entropy(prior),
        post_ent=entropy(post))
    return tf.add_n(weighted + extra), outs, metrics

  def _predict(self, feat):
    outs = {}
    for name, head in self.heads.items():
      trains = name in self.config.grad_heads
      out = head(feat if trains else tf.stop_gradient(feat))
      outs.update(out if isinstance(out, dict) else {name: out})
    return outs

  def imagine(self, act, start, is_terminal, horizon, seed):
    """Rolls out the dynamics from posterior states.

        Actions:     0   a1   a2   a3      a1 is chosen at z0 and leads to z1
        States:     z0 > z1 > z2 > z3      z0 is a posterior, H = 3
        Discount:   g0   g1   g2   g3      g0 says whether z1 is still valid
        Weights:     1   g0 g0g1 g0g1g2

    Args:
      act: function of features [N, F] and a seed that gives actions [N, A]
        and the parameters of the policy that they come from, a dict.
      start: posterior states [B, L, ...], N = B * L.
      is_terminal: [B, L] bool.
      horizon: number of steps H.
      seed: stateless seed.

    Returns:
      Dict of [H + 1, N, ...]: stoch, deter, feat, action, discount, weight;
      and policy, the parameters at all states but the last, [H, N, ...].
    """
    keys = 'stoch', 'deter'
    flat = lambda x: tf.reshape(x, [-1, *x.shape[2:]])
    start = {key: flat(start[key]) for key in keys}
    start['action'] = tf.zeros(
        [start['deter'].shape[0], self.action_size])
    def step(state, seed):
      act_seed, step_seed = tf.unstack(stateless.split(seed, 2))
      feat = tf.stop_gradient(self.rssm.get_feat(state))
      action, policy = act(feat, act_seed)
      state = self.rssm.img_step(state, action, step_seed)
      return {
          **{key: state[key] for key in keys}, 'action': action,
          'policy': policy}
    # A loop needs the structure of what it makes beforehand.
    _, policy = act(self.rssm.get_feat(start), seed)
    policy = tf.nest.map_structure(tf.zeros_like, policy)
    seq = loops.scan(
        step, stateless.split(seed, horizon), {**start, 'policy': policy},
        self.config.unroll)
    policy = seq.pop('policy')
    seq = tf.nest.map_structure(
        lambda x, xs: tf.concat([x[None], xs], 0), start, seq)
    seq['policy'] = policy
    seq['feat'] = self.rssm.get_feat(seq)
    seq['discount'] = self._discounts(seq['feat'], flat(is_terminal))
    # A discount tells whether the following state is valid, hence the shift.
    seq['weight'] = tf.math.cumprod(tf.concat(
        [tf.ones_like(seq['discount'][:1]), seq['discount'][:-1]], 0), 0)
    return seq

  def _discounts(self, feat, is_terminal):
    if 'discount' not in self.heads:
      return self.config.discount * tf.ones(feat.shape[:-1])
    discount = self.heads['discount'](feat).mean()
    # What the data say of the first state is better than a prediction.
    first = self.config.discount * (1 - tf.cast(is_terminal, tf.float32))
    return tf.concat([first[None], discount[1:]], 0)

  def preprocess(self, obs):
    """Scales images and rewards and adds the discount, all in float32."""
    obs = self.scaled(obs)
    obs['reward'] = self.transform(obs['reward'])
    alive = 1.0 - tf.cast(obs['is_terminal'], tf.float32)
    return {**obs, 'discount': self.config.discount * alive}

  def scaled(self, obs):
    """Scales images to [-0.5, 0.5], float32; leaves out what is for logs."""
    return {
        key: tf.cast(x, tf.float32) / 255.0 - 0.5 if x.dtype == tf.uint8 else x
        for key, x in obs.items() if not key.startswith('log_')}

  def video(self, batch, seed, count=6, context=5):
    """Compares data and open-loop prediction after some context frames.

    Returns:
      key -> [L, 3 * H, count * W, C] in [0, 1]: truth, model, difference.
    """
    obs = self.preprocess({key: x[:count] for key, x in batch.items()})
    embed = self.encoder(obs)
    seen, unseen = tf.unstack(stateless.split(seed, 2))
    states, _ = self.rssm.observe(
        embed[:, :context], obs['action'][:, :context],
        obs['is_first'][:, :context], seen)
    last = {key: x[:, -1] for key, x in states.items()}
    prior = self.rssm.imagine(obs['action'][:, context:], last, unseen)
    feat = tf.concat(
        [self.rssm.get_feat(states), self.rssm.get_feat(prior)], 1)
    decoder, videos = self.heads['decoder'], {}
    dists = decoder(feat)
    for key in decoder.cnn_keys:
      truth, model = obs[key] + 0.5, dists[key].mode() + 0.5
      video = tf.concat([truth, model, (model - truth + 1) / 2], 2)
      batch, length, height, width, depth = video.shape
      video = tf.reshape(
          tf.transpose(video, [1, 2, 0, 3, 4]),
          [length, height, batch * width, depth])
      videos[key] = tf.clip_by_value(video, 0.0, 1.0)
    return videos
