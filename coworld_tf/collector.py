"""Collects the data of a source: its simulator, agent and replay."""

from coworld_tf import seeds
from dreamerv2_base import agent
from envs import driver


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
    self.driver = self.simulator = self.policy = None

  def prefill(self, steps, bar):
    """Stores whole episodes of random actions, `steps` agent steps at least.

    Args:
      steps: those that are stored already count.
      bar: progress.Progress.
    """
    self._start()
    collected = self.replay.total_steps
    policy = driver.RandomPolicy(
        self.simulator.act_space, self._seed(seeds.PREFILL, collected))
    while collected < steps:
      self.driver(policy, episodes=1)
      bar.update(self.replay.total_steps - collected)
      collected = self.replay.total_steps
    self.driver.reset()
    self.agent.step.assign(collected)

  def collect(self, steps):
    """Acts for some agent steps; episodes are stored once they are whole."""
    self._start()
    if not self.policy:
      self.policy = agent.AgentPolicy(
          self.agent, self._seed(seeds.ACTING), 'train', int(self.agent.step))
    self.driver(self.policy, steps=steps)
    self.agent.step.assign_add(steps)

  def close(self):
    """Closes the simulator, which loses the running episode."""
    if self.driver:
      self.simulator.close()
      self.driver = None

  def _start(self):
    # After a restart the running episode is lost, and a new seed goes on.
    if not self.driver:
      self.simulator = self.make_env(
          self._seed(seeds.COLLECT, self.replay.total_steps))
      append = lambda episode, index: self.replay.append(episode)
      self.driver = driver.Driver([self.simulator], on_episode=[append])

  def _seed(self, *stream):
    return seeds.make(self.config.seed, *stream, self.index)
