"""DV2 Finetune + EWC: what mattered for the source resists the target.

Elastic weight consolidation (Kirkpatrick et al., 2017) adds to the losses of
world model and actor

    weight / 2 * sum_i F_i (theta_i - theta*_i)^2

where theta* are the variables of the source agent, which no longer changes,
and F is the diagonal of their empirical Fisher information. The critic is
free, since the scales of reward differ.
"""

import tensorflow as tf

from coworld_tf.baselines import dv2_finetune
from dreamerv2_base import agent, stateless, transaction


class FinetuneEWC(dv2_finetune.Finetune):
  """A target agent that starts as the source agent and is held near it."""

  def __init__(self, config, source, target):
    """Takes two agents of the same shapes; arguments as for `Finetune`.

    Raises:
      ValueError: the agents differ in the shapes of their variables, or the
        precision is float16, whose gradients of single sequences overflow
        or vanish; bfloat16 has the range of float32.
    """
    super().__init__(config, source, target)
    if source.config.precision == '16':
      raise ValueError(
          "precision: '16' cannot hold the gradients that "
          "dv2_finetune_ewc squares; use '32' or bfloat16")
    # Sums over `count` sequences of squared gradients, by module.
    self.squares = {
        name: [tf.Variable(tf.zeros_like(x), trainable=False)
               for x in module.trainable_variables]
        for name, module in anchored(source).items()}
    self.count = tf.Variable(0, trainable=False, dtype=tf.int64)
    self.consolidate = agent.compiled(self._consolidate, config.compile)

  def _consolidate(self, batch):
    """Adds one source sequence to the Fisher information.

    Gradients are squared before they are averaged, so the batch must be one
    sequence. The loss of the world model is that of training, free nats
    included, though they cut a mean over the batch there. For the actor, an
    action is drawn at the last state; unlike the closed form for a Gaussian,
    this serves every distribution and takes one gradient, not one per
    dimension.

    Args:
      batch: dict of [1, L, ...] as stored in episodes.

    Returns:
      Dict of scalar metrics, see transaction.whole.
    """
    assert batch['reward'].shape[0] == 1, batch['reward'].shape
    source = self.source
    seed = tf.constant([source.seed, 1], tf.int32)
    model_seed, actor_seed = tf.unstack(
        stateless.split(stateless.fold_in(seed, self.count), 2))
    targets = {
        name: module.trainable_variables
        for name, module in anchored(source).items()}
    actor = {'actor': targets.pop('actor')}
    with tf.GradientTape() as tape:
      loss, outs, _ = source.wm.loss(batch, model_seed)
    grads = tape.gradient(loss, targets)
    last = {key: x[:, -1] for key, x in outs['post'].items()}
    feat = source.wm.rssm.get_feat(last)
    action = tf.stop_gradient(source.ac.act(feat, actor_seed)[0])
    with tf.GradientTape() as tape:
      policy = source.ac.actor(feat)
      score = tf.reduce_sum(source.ac.used(policy, 'log_prob', action))
    grads.update(tape.gradient(score, actor))
    squares = tf.nest.flatten(self.squares)
    def add():
      for name, values in self.squares.items():
        for square, grad in zip(values, grads[name], strict=True):
          square.assign_add(tf.square(grad))
      self.count.assign_add(1)
      return {'fisher_norm': tf.linalg.global_norm(squares)}
    return transaction.whole([*squares, self.count], add)

  def hand_over(self):
    """Copies the source; returns its Fisher sums as metrics."""
    super().hand_over()
    return {f'fisher_{name}': x for name, x in self.fisher_sums().items()}

  def fisher_sums(self):
    """Returns module -> sum of the Fisher information, without the floor."""
    return {
        name: sum(float(tf.reduce_sum(x)) for x in self._means(name))
        for name in self.squares}

  def _means(self, name):
    count = tf.maximum(tf.cast(self.count, tf.float32), 1.0)
    return [x / count for x in self.squares[name]]

  def _train_target(self, batch):
    return self.target.update(
        batch, model_terms={'ewc': self._anchor_model},
        actor_terms={'ewc': self._anchor_actor})

  def _anchor_model(self, _):
    loss = tf.add_n([
        self.anchor(name) for name in dv2_finetune.model_modules(self.source)])
    return loss, {'ewc_model': loss}

  def _anchor_actor(self, _):
    loss = self.anchor('actor')
    return loss, {'ewc_actor': loss}

  def anchor(self, name):
    """Returns the penalty of a module of the target, a scalar."""
    config = self.config.ewc
    fisher = [tf.maximum(x, config.floor) for x in self._means(name)]
    ours, peer = [
        anchored(learner)[name].trainable_variables
        for learner in (self.target, self.source)]
    return penalty(ours, peer, fisher, config.weight)


def anchored(learner):
  """Returns name -> module of the parts of an agent that are held."""
  return {
      **dv2_finetune.model_modules(learner), 'actor': learner.ac.actor}


def penalty(variables, anchors, fisher, weight):
  """Returns weight / 2 * sum_i F_i (theta_i - theta*_i)^2.

  Args:
    variables: list of tensors theta, which receive the gradient.
    anchors: list of tensors theta*, constant.
    fisher: list of tensors F, constant.
    weight: lambda.
  """
  terms = [
      tf.reduce_sum(tf.stop_gradient(f) * tf.square(x - tf.stop_gradient(y)))
      for x, y, f in zip(variables, anchors, fisher, strict=True)]
  return 0.5 * weight * tf.add_n(terms)
