"""DreamerV2 without a partner: online in a simulator, or offline on data."""

import tensorflow as tf


class Online(tf.Module):
  """An agent that learns in a simulator."""

  def __init__(self, agent):
    """Takes the agent, a dreamerv2_base.agent.Agent."""
    super().__init__()
    self.sources, self.target = [agent], None


class Offline(tf.Module):
  """An agent that learns from a dataset, with nothing against the errors."""

  def __init__(self, agent):
    """Takes the agent, a dreamerv2_base.agent.Agent."""
    super().__init__()
    self.sources, self.target = [], agent
    self.train_target_model, self.train_target = agent.train_model, agent.train
