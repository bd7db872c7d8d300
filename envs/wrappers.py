"""Wrappers around environments."""

import gymnasium
import numpy as np


class ActionError(ValueError):
  """An action is not one of the environment."""


class Wrapper:
  """Forwards everything to `env`; subclasses change what they name."""

  def __init__(self, env):
    self.env = env

  @property
  def obs_space(self):
    """Dict of observation names to spaces."""
    return self.env.obs_space

  @property
  def act_space(self):
    """Dict with the space of 'action'."""
    return self.env.act_space

  def reset(self, seed=None):
    """Starts an episode, see `simulator.Simulator.reset`."""
    return self.env.reset(seed)

  def step(self, action):
    """Applies {'action': ...} and returns the observation reached."""
    return self.env.step(action)

  def close(self):
    """Frees the resources of the environment."""
    self.env.close()


class ActionRepeat(Wrapper):
  """Repeats each action, adds up the rewards and renders only once.

  A success in any of the frames counts.

  Needs an environment whose `step` is split into `advance`, which returns all
  but the image, and `render`.
  """

  def __init__(self, env, amount):
    super().__init__(env)
    self._amount = amount

  def step(self, action):
    """Stops repeating where the episode ends."""
    total, successes = 0.0, []
    for _ in range(self._amount):
      obs = self.env.advance(action)
      total += float(obs['reward'])
      successes.append(obs.get('log_success'))
      if obs['is_last']:
        break
    obs.update(image=self.env.render(), reward=np.float32(total))
    if 'log_success' in obs:
      obs['log_success'] = max(successes)
    return obs


class TimeLimit(Wrapper):
  """Ends episodes after `length` steps, which is not a terminal state."""

  def __init__(self, env, length):
    super().__init__(env)
    self._length = length
    self._step = length

  def reset(self, seed=None):
    """Restarts the count."""
    self._step = 0
    return self.env.reset(seed)

  def step(self, action):
    """Raises a RuntimeError when the episode is over."""
    if self._step >= self._length:
      raise RuntimeError('the episode is over: call reset() before step()')
    self._step += 1
    obs = self.env.step(action)
    return {**obs, 'is_last': obs['is_last'] or self._step >= self._length}


class NormalizeAction(Wrapper):
  """Maps actions from [-1, 1] to the bounds of the environment.

  Unbounded actions keep their scale, so -1 and 1 stay -1 and 1.
  """

  def __init__(self, env):
    super().__init__(env)
    space = env.act_space['action']
    self._center, self._scale = center_and_scale(space)

  @property
  def act_space(self):
    """One float32 box from -1 to 1."""
    box = gymnasium.spaces.Box(-1, 1, self._center.shape, np.float32)
    return {'action': box}

  def step(self, action):
    """Raises an ActionError unless the action is as many finite numbers."""
    action = np.asarray(action['action'], np.float64)
    if action.shape != self._center.shape or not np.isfinite(action).all():
      raise ActionError(
          f'action is {action}: must be {self._center.size} finite numbers')
    return self.env.step({'action': self._center + self._scale * action})


def center_and_scale(space):
  """Returns the affine map from [-1, 1] to the bounds of a Box, two float64.

  It is the identity for bounds of -1 and 1, and where there are none.
  """
  bounded = np.isfinite(space.low) & np.isfinite(space.high)
  low = np.where(bounded, space.low, -1.0).astype(np.float64)
  high = np.where(bounded, space.high, 1.0).astype(np.float64)
  return (high + low) / 2, (high - low) / 2


class OneHotAction(Wrapper):
  """Takes the largest entry of a vector for the choice of a discrete action.
  """

  @property
  def act_space(self):
    """One choice, counted from zero."""
    return {'action': gymnasium.spaces.Discrete(int(self._space.n))}

  def step(self, action):
    """Raises an ActionError unless there is one finite number per choice."""
    action = np.asarray(action['action'])
    if action.shape != (self._space.n,) or not np.isfinite(action).all():
      raise ActionError(
          f'action is {action}: must be {self._space.n} finite numbers')
    choice = self._space.start + np.argmax(action)
    return self.env.step({'action': choice})

  @property
  def _space(self):
    return self.env.act_space['action']
