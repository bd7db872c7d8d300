"""Recurrent state-space model (paper Eq. 1): GRU state plus stochastic state.

A state is a dict of tensors with the same leading dimensions:

    deter [..., D]; stoch [..., S, C] one-hot, or [..., S] Gaussian; and the
    parameters of the distribution that stoch was drawn from: logit like
    stoch, or mean and std. A feature is flat stoch and deter, [..., S*C + D].

Where networks compute in 16 bits, so are stoch and features; the rest is
float32.
"""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_base import dists, layers, stateless


class RSSM(tf.Module):
  """Latent dynamics with an ensemble of prior heads."""

  def __init__(
      self, embed, action, init, ensemble=1, stoch=32, discrete=32, deter=200,
      hidden=200, act='elu', norm='none', norm_gru=True, std_act='sigmoid2',
      min_std=0.1):
    """Builds the model.

    Args:
      embed: size of the embedding.
      action: size of the action.
      init: layers.Init.
      ensemble: number of prior heads, one of which is drawn at each step.
      stoch: number S of stochastic variables.
      discrete: number C of classes of each, or 0 for Gaussians.
      deter: units D of the GRU.
      hidden: units of the layers around it.
      act: activation of these layers.
      norm: their normalization, none or layer.
      norm_gru: whether the GRU uses layer norm.
      std_act: softplus, sigmoid or sigmoid2, for Gaussians.
      min_std: smallest standard deviation of Gaussians.
    """
    super().__init__()
    self.dtype, self.deter = init.dtype, deter
    self.stoch, self.discrete = stoch, discrete
    self.act = layers.get_act(act)
    self.std_act, self.min_std = std_act, min_std
    flat = stoch * (discrete or 1)
    stats = flat if discrete else 2 * stoch
    self.feat_size = flat + deter
    self.img_in = layers.Dense(flat + action, hidden, init)
    self.img_in_norm = layers.get_norm(norm, hidden)
    self.cell = layers.GRUCell(hidden, deter, norm_gru, init)
    self.img_out = [
        layers.Dense(deter, hidden, init) for _ in range(ensemble)]
    self.img_out_norm = [
        layers.get_norm(norm, hidden) for _ in range(ensemble)]
    self.img_dist = [
        layers.Dense(hidden, stats, init, tf.float32)
        for _ in range(ensemble)]
    self.obs_out = layers.Dense(deter + embed, hidden, init)
    self.obs_out_norm = layers.get_norm(norm, hidden)
    self.obs_dist = layers.Dense(hidden, stats, init, tf.float32)

  def initial(self, batch):
    """Returns the zero state for a batch size."""
    shape = [batch, self.stoch] + [self.discrete] * bool(self.discrete)
    names = ['logit'] if self.discrete else ['mean', 'std']
    state = {key: tf.zeros(shape) for key in names}
    state['stoch'] = tf.zeros(shape, self.dtype)
    return {**state, 'deter': tf.zeros([batch, self.deter])}

  def observe(self, embed, action, is_first, seed, state=None):
    """Filters observed sequences.

        Actions:     a0     a1     a2       a_t led to the observation o_t
                      |      |      |
        States:  s -> s0 --> s1 --> s2      s_t sees o_0 to o_t
                      ^      ^      ^
        Embeddings:  e0     e1     e2

    Args:
      embed: [B, L, E] embeddings.
      action: [B, L, A] actions that led to them.
      is_first: [B, L] bool; True forgets the state and action before.
      seed: stateless seed.
      state: state before the sequence, or None for zeros.

    Returns:
      Posterior states, and prior states without stoch, which the loss does
      not need; [B, L, ...] each.
    """
    batch, length = action.shape[:2]
    swap = lambda x: tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
    seeds = stateless.split(seed, length)
    # In the loop is only what depends on the step before: of the posterior's
    # first layer, the rows for deter.
    layer, low = self.obs_out, lambda x: tf.cast(x, self.dtype)
    kernel = layer.kernel[:self.deter]
    seen = layers.affine(
        swap(embed), layer.kernel[self.deter:], layer.bias, self.dtype)
    def step(prev, inputs):
      action, seen, is_first, seed = inputs
      _, post_seed = tf.unstack(stateless.split(seed, 2))
      deter = self._advance(*_forget(prev, action, is_first))
      x = seen + tf.linalg.matmul(low(deter), low(kernel))
      return self._posterior(deter, x, post_seed)
    post = tf.scan(
        step, (swap(action), seen, swap(is_first), seeds),
        state or self.initial(batch))
    prior = {**self._priors(post['deter'], seeds), 'deter': post['deter']}
    return tf.nest.map_structure(swap, (post, prior))

  def imagine(self, action, state, seed):
    """Predicts states [B, L, ...] for actions [B, L, A] from one state."""
    swap = lambda x: tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
    seeds = stateless.split(seed, action.shape[1])
    prior = tf.scan(
        lambda prev, inp: self.img_step(prev, *inp),
        (swap(action), seeds), state)
    return tf.nest.map_structure(swap, prior)

  def obs_step(
      self, prev_state, prev_action, embed, is_first, seed, sample=True):
    """Makes one filtering step; returns posterior and prior state."""
    prior_seed, post_seed = tf.unstack(stateless.split(seed, 2))
    prior = self.img_step(
        *_forget(prev_state, prev_action, is_first), prior_seed, sample)
    deter = prior['deter']
    x = self.obs_out(tf.concat([deter, tf.cast(embed, deter.dtype)], -1))
    return self._posterior(deter, x, post_seed, sample), prior

  def img_step(self, prev_state, prev_action, seed, sample=True):
    """Makes one prediction step; returns the prior state."""
    head_seed, seed = tf.unstack(stateless.split(seed, 2))
    deter = self._advance(prev_state, prev_action)
    if len(self.img_out) > 1:
      head = stateless.integer(head_seed, len(self.img_out))
      # Not value[head], which XLA compiles again for each head.
      stats = {
          key: tf.gather(value, head)
          for key, value in self.prior_stats(deter).items()}
    else:
      stats = self._prior_stats(0, deter)
    stoch = self._draw(stats, seed, sample)
    return {**stats, 'stoch': stoch, 'deter': deter}

  def prior_stats(self, deter):
    """Returns the parameters of all prior heads, [ensemble, ..., S, (C)]."""
    stats = [
        self._prior_stats(head, deter) for head in range(len(self.img_out))]
    return tf.nest.map_structure(lambda *xs: tf.stack(xs, 0), *stats)

  def get_feat(self, state):
    """Returns the feature [..., S*C + D] of a state."""
    deter = tf.cast(state['deter'], self.dtype)
    return tf.concat([self._flat_stoch(state['stoch']), deter], -1)

  def get_dist(self, state):
    """Returns the distribution of stoch, in float32 or wider."""
    wide = lambda x: x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
    if self.discrete:
      logit = wide(state['logit'])
      return tfd.Independent(dists.OneHot(logit, dtype=logit.dtype), 1)
    return tfd.Independent(
        dists.Normal(wide(state['mean']), wide(state['std'])), 1)

  def kl_loss(
      self, post, prior, forward=False, balance=0.8, free=1.0, free_avg=True):
    """Balanced KL between posterior and prior (Eq. 2).

    As in DreamerV2, a balance of 0.5 is the plain KL: its whole gradient
    reaches both, and free nats apply to each element.

    Args:
      post: posterior state, [B, L, ...].
      prior: prior state, [B, L, ...].
      forward: KL(prior || post) instead of KL(post || prior).
      balance: weight of the term that trains the prior.
      free: nats below which there is no gradient.
      free_avg: whether that applies to the mean or to each element.

    Returns:
      Scalar loss and [B, L] KL.
    """
    stop = lambda x: tf.nest.map_structure(tf.stop_gradient, x)
    def divergence(post, prior):
      left, right = (prior, post) if forward else (post, prior)
      return tfd.kl_divergence(self.get_dist(left), self.get_dist(right))
    def clip(value):
      if free_avg:
        return tf.maximum(tf.reduce_mean(value), free)
      return tf.reduce_mean(tf.maximum(value, free))
    if balance == 0.5:
      value = divergence(post, prior)
      return tf.reduce_mean(tf.maximum(value, free)), value
    value = divergence(stop(post), prior)
    loss = balance * clip(value)
    loss += (1 - balance) * clip(divergence(post, stop(prior)))
    return loss, value

  def _advance(self, prev_state, prev_action):
    """Returns the next deter [B, D]."""
    stoch = self._flat_stoch(prev_state['stoch'])
    x = tf.concat([stoch, tf.cast(prev_action, self.dtype)], -1)
    x = self.act(self.img_in_norm(self.img_in(x)))
    return self.cell(x, prev_state['deter'])

  def _posterior(self, deter, x, seed, sample=True):
    """Returns the posterior state of what `obs_out` gives, x [B, hidden]."""
    stats = self._stats(self.obs_dist(self.act(self.obs_out_norm(x))))
    stoch = self._draw(stats, seed, sample)
    return {**stats, 'stoch': stoch, 'deter': deter}

  def _priors(self, deter, seeds):
    """Parameters of the heads that are drawn in steps with these seeds.

    Args:
      deter: [L, B, D].
      seeds: of the steps of `obs_step`, [L, 2].
    """
    count = len(self.img_out)
    if count == 1:
      return self._prior_stats(0, deter)
    def draw(seed):
      # As `obs_step` and `img_step` split it.
      prior_seed, _ = tf.unstack(stateless.split(seed, 2))
      head_seed, _ = tf.unstack(stateless.split(prior_seed, 2))
      return stateless.integer(head_seed, count)
    heads = tf.map_fn(draw, seeds)
    swap = lambda x: tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
    return {
        key: tf.gather(swap(value), heads, batch_dims=1)
        for key, value in self.prior_stats(deter).items()}

  def _prior_stats(self, head, deter):
    """Returns the parameters of one prior head."""
    x = self.img_out_norm[head](self.img_out[head](deter))
    return self._stats(self.img_dist[head](self.act(x)))

  def _flat_stoch(self, stoch):
    stoch = tf.cast(stoch, self.dtype)
    if not self.discrete:
      return stoch
    return tf.reshape(
        stoch, [*layers.sizes(stoch, -2), self.stoch * self.discrete])

  def _stats(self, x):
    if self.discrete:
      return {'logit': tf.reshape(
          x, [*layers.sizes(x, -1), self.stoch, self.discrete])}
    mean, std = tf.split(x, 2, -1)
    std = {
        'softplus': tf.nn.softplus,
        'sigmoid': tf.sigmoid,
        'sigmoid2': lambda x: 2 * tf.sigmoid(x / 2),
    }[self.std_act](std)
    return {'mean': mean, 'std': std + self.min_std}

  def _draw(self, stats, seed, sample):
    dist = self.get_dist(stats)
    stoch = dist.sample(seed=seed) if sample else dist.mode()
    return tf.cast(stoch, self.dtype)


def _forget(state, action, is_first):
  """Sets the state and action before an episode to zero."""
  keep = 1.0 - tf.cast(is_first, tf.float32)
  return tf.nest.map_structure(
      lambda x: x * tf.cast(
          tf.reshape(keep, [-1] + [1] * (x.shape.rank - 1)), x.dtype),
      (state, action))
