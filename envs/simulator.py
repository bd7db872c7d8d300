"""What the environments of all suites share."""

import math

import gymnasium
import numpy as np


class Simulator:
  """An environment that draws its image only when it is wanted.

  Subclasses define `_start(seed)`, `_move(action)`, which returns the entries
  of the observation that are not zero, `render()` and `close()`.
  """

  def __init__(self, act_space, size, success=False):
    """Fixes the spaces.

    Args:
      act_space: Space of the actions.
      size: Image height and width in pixels.
      success: Whether observations have a `log_success`, 0 or 1.
    """
    box = gymnasium.spaces.Box
    self.obs_space = {
        'image': box(0, 255, (size, size, 3), np.uint8),
        'reward': box(-np.inf, np.inf, (), np.float32),
        'is_first': box(0, 1, (), bool),
        'is_last': box(0, 1, (), bool),
        'is_terminal': box(0, 1, (), bool),
    }
    if success:
      self.obs_space['log_success'] = box(0, 1, (), np.float32)
    self.act_space = {'action': act_space}
    self._over = True

  def reset(self, seed=None):
    """Starts an episode and returns its first observation.

    Args:
      seed: Integer that alone decides what is random from here on: the episode
        is the first of a new environment with this seed. Without it the
        randomness goes on from the last episode.
    """
    self._start(seed)
    self._over = False
    return {**self._observe(is_first=True), 'image': self.render()}

  def step(self, action):
    """Applies {'action': ...} and returns the observation reached."""
    return {**self.advance(action), 'image': self.render()}

  def advance(self, action):
    """Applies the action; returns the observation without its image.

    Raises:
      ValueError: If the reward is no finite number.
      RuntimeError: If the episode is over.
    """
    if self._over:
      raise RuntimeError('the episode is over: call reset() before step()')
    obs = self._observe(**self._move(action['action']))
    self._over = obs['is_last']
    return obs

  def _observe(self, **values):
    obs = {
        key: space.dtype.type(values.get(key, 0))
        for key, space in self.obs_space.items() if key != 'image'}
    # None becomes NaN, and an array stays one.
    if np.ndim(obs['reward']) or not math.isfinite(obs['reward']):
      raise ValueError(f'reward is {values["reward"]}: must be finite')
    return obs
