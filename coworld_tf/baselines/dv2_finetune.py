"""DV2 Finetune: the agent of the simulator goes on with the offline data.

    phase       data              what learns
    source      source replay     the source agent, as DreamerV2 does
    hand_over                     nothing; the target becomes a copy
    target      target dataset    the target agent, as DreamerV2 does

The copy has all that the source learned, and optimizers that start anew.
"""

import tensorflow as tf

from dreamerv2_base import agent


class Finetune(tf.Module):
  """A target agent that starts as the trained source agent."""

  def __init__(self, config, source, target):
    """Takes two agents of the same shapes.

    Args:
      config: configuration, see configs/defaults.yaml.
      source: dreamerv2_base.agent.Agent of the simulator.
      target: the same for the offline dataset, untrained.

    Raises:
      ValueError: the agents differ in the shapes of their variables.
    """
    super().__init__()
    self.config, self.source, self.target = config, source, target
    self.sources = [source]
    _check_same_shapes(source, target)
    self.train_target = agent.compiled(self._train_target, config.compile)

  def _train_target(self, batch):
    return self.target.update(batch)

  def consolidate(self, batch):
    """Learns from a source sequence what to keep: here, nothing."""
    return {'skipped': 0.0}

  def hand_over(self):
    """Copies what the source learned, but no state of its optimizers.

    Returns:
      Dict of scalar metrics.
    """
    ours = modules(self.target)
    for name, module in modules(self.source).items():
      for peer, var in zip(
          module.variables, ours[name].variables, strict=True):
        var.assign(peer)
    # With its counters, schedules go on and the slow critic stays as it is.
    self.target.step.assign(self.source.step)
    self.target.ac.updates.assign(self.source.ac.updates)
    return {}


def model_modules(learner):
  """Returns name -> module of the parts of an agent's world model."""
  wm = learner.wm
  return {'encoder': wm.encoder, 'rssm': wm.rssm, **wm.heads}


def modules(learner):
  """Returns name -> module of everything that an agent learns."""
  ac = learner.ac
  return {
      **model_modules(learner), 'actor': ac.actor, 'critic': ac.critic,
      'slow_critic': ac.slow_critic, 'reward_norm': ac.rewnorm}


def _check_same_shapes(source, target):
  # Modules list their variables by the names of attributes, so that the
  # order of construction does not matter.
  shapes = [
      {name: [(x.name, tuple(x.shape)) for x in module.variables]
       for name, module in modules(learner).items()}
      for learner in (source, target)]
  for name in sorted({*shapes[0], *shapes[1]}):
    ours, peer = [x.get(name) for x in shapes]
    if ours != peer:
      raise ValueError(
          f'dv2_finetune: {name} differs between source and target; their '
          'sizes of observations and actions must agree')
