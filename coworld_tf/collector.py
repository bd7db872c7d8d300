"""Collects the data of a source: its simulator, agent and replay."""

import logging

from coworld_tf import seeds
from dreamerv2_base import agent
from envs import driver

LOG = logging.getLogger(__name__)


class Collector:
  """Lets an agent act in a simulator that starts when it is needed."""

  def __init__(self, config, name, learner, replay, make_env, index=0):
    """Prepares collection.

    Args:
      config: configuration, see configs/defaults.yaml.
      name: of the source in logs.
      learner: dreamerv2_base.agent.Agent that acts.
      replay: replay.Replay that grows.
      make_env: function of a seed that gives a simulator.
      index: of the source, for its seeds.
    """
    self.config, self.name, self.index = config, name, index
    self.agent, self.replay, self.make_env = learner, replay, make_env
    # What acts while the agent learns.
    self.twin = agent.Twin(learner) if config.overlap == 'all' else None
    self.driver = self.simulator = self.policy = None
    self.episode = None  # Number of the one that was begun last.

  @property
  def running(self):
    """Whether an episode is running, which no checkpoint can hold."""
    return self.episode == self.replay.total_episodes

  def prefill(self):
    """Stores an episode of random actions."""
    self._begin(lambda number: driver.RandomPolicy(
        self.simulator.act_space, self._seed(seeds.PREFILL, number)))
    self.driver(self.policy, episodes=1)

  def collect(self):
    """Makes an agent step; episodes are stored once they are whole."""
    if not self.running:
      if self.twin:
        self.twin.follow()
      self._begin(lambda number: agent.AgentPolicy(
          self.twin or self.agent, self._seed(seeds.ACTING, number), 'train'))
    self.driver(self.policy, steps=1)

  def go_back(self, count):
    """Forgets episodes after the first ones, which a checkpoint knows."""
    self.replay.cut(count)
    if self.replay.total_episodes < count:
      LOG.warning(
          'warning: %s: %d of the %d episodes that the checkpoint knows are '
          'gone', self.name, count - self.replay.total_episodes, count)

  def cut(self):
    """Ends the running episode, if there is one, and stores it."""
    if self.running:
      self.driver.cut()

  def close(self):
    """Closes the simulator."""
    if self.driver:
      self.simulator.close()
      self.driver = self.episode = None

  def _begin(self, make_policy):
    """Prepares an episode, which depends on its number and the agent alone."""
    number = self.replay.total_episodes
    if not self.driver:
      seed = lambda *_: self._seed(seeds.COLLECT, self.replay.total_episodes)
      append = lambda episode, index: self.replay.append(episode)
      self.simulator = self.make_env(seed())
      self.driver = driver.Driver([self.simulator], [append], seed)
    self.driver.reset()
    self.policy, self.episode = make_policy(number), number

  def _seed(self, *stream):
    return seeds.make(self.config.seed, *stream, self.index)
