"""Several sources for one target, of which the nearest is used (App. C).

Every source has its own simulator, replay and agent. Of these only the
selected one collects, learns from target rewards, aligns the target's encoder
and bounds its critic; the others rest. Each pair of a source with the target
is a CoWorldPair, compiled once it is used.
"""

import tensorflow as tf

from coworld_tf import pair
from coworld_tf.stages import state_alignment
from dreamerv2_base import agent


class MultiSource(tf.Module):
  """CoWorld with a choice of sources."""

  def __init__(self, config, sources, target, eta_steps, prefill_steps=0):
    """Pairs each source with the target.

    Args:
      config: configuration, see configs/defaults.yaml.
      sources: list of dreamerv2_base.agent.Agent, one for each simulator.
      target: the same for the offline dataset.
      eta_steps: as for pair.CoWorldPair; each source has its own eta.
      prefill_steps: as for pair.CoWorldPair.

    Raises:
      ValueError: as for pair.CoWorldPair.
    """
    super().__init__()
    self.config, self.sources, self.target = config, sources, target
    self.pairs = [
        pair.CoWorldPair(config, source, target, eta_steps, prefill_steps)
        for source in sources]
    count = len(sources)
    make = lambda value, dtype: tf.Variable(
        value, trainable=False, dtype=dtype)
    self.selected = make(0, tf.int32)
    # For the summary: how often each was chosen, how far it was the last time.
    self.choices = make(tf.zeros([count], tf.int64), tf.int64)
    self.last_distances = make(tf.zeros([count]), tf.float32)
    self.distances = agent.compiled(self._distances, config.compile)

  @property
  def aligned_steps(self):
    """Agent steps of the selected source since its stage B began."""
    return self._pair().aligned_steps

  def train_source_aligned(self, batch, target_batch):
    """Trains the selected source, see pair.CoWorldPair."""
    return self._pair().train_source_aligned(batch, target_batch)

  def train_target_model(self, batch):
    """Trains the target's world model, see pair.CoWorldPair."""
    return {**self._reselect(batch), **self._pair().train_target_model(batch)}

  def train_target(self, batch):
    """Trains the target agent, see pair.CoWorldPair."""
    return {**self._reselect(batch), **self._pair().train_target(batch)}

  def embed(self, images):
    """Embeds images by the selected source, see pair.CoWorldPair."""
    return self._pair().embed(images)

  def select(self, batches):
    """Chooses the source that is nearest in the mean over target batches.

    Args:
      batches: iterable of dicts of [B, L, ...], at least one.

    Returns:
      Dict of scalar metrics by source: distances in nats and, 1 or 0,
      whether it is the choice.
    """
    found = tf.reduce_mean([self.distances(batch) for batch in batches], 0)
    index = state_alignment.nearest(found)
    self.selected.assign(index)
    self.choices.scatter_nd_add([[index]], [1])
    # Checkpoints hold finite numbers only.
    self.last_distances.assign(
        tf.where(tf.math.is_finite(found), found, found.dtype.max))
    metrics = {
        f'distance_{i}': value for i, value in enumerate(tf.unstack(found))}
    # One-hot, so that means over updates are shares.
    shares = tf.unstack(tf.one_hot(index, len(self.sources)))
    metrics.update({f'selected_{i}': x for i, x in enumerate(shares)})
    return metrics

  def _reselect(self, batch):
    each = self.config.multi_source.reselect == 'step'
    return self.select([batch]) if each and len(self.sources) > 1 else {}

  def _pair(self):
    return self.pairs[int(self.selected)]

  def _distances(self, batch):
    obs = self.target.wm.preprocess(batch)
    return state_alignment.distances(
        self.target.wm.encoder(obs),
        [source.wm.encoder(obs) for source in self.sources],
        self.config.align.reduction)
