"""A tiny learnable environment without a simulator, for tests."""

import gymnasium
import numpy as np

from envs import wrappers

LENGTH = 100


class Dummy:
  """Points on lines, one per action, rewarded for staying in the middle.

  The image has one horizontal band per action with a soft spot at the point.
  """

  def __init__(self, actions, seed, size):
    self.obs_space = wrappers.observation_space(size)
    self.act_space = {
        'action': gymnasium.spaces.Box(-1, 1, (actions,), np.float32)}
    self._random = np.random.default_rng(seed)
    self._columns = np.linspace(-1, 1, size)
    self._bands = np.arange(size) * actions // size
    self._points = np.zeros(actions)
    self._step = LENGTH

  def reset(self):
    """Places the points at random."""
    self._step = 0
    self._points = self._random.uniform(-1, 1, self._points.shape)
    return {**self._observe(0.0), 'image': self.render()}

  def step(self, action):
    """Moves the points by a fifth of the action."""
    return {**self.advance(action), 'image': self.render()}

  def advance(self, action):
    """Moves the points; returns the observation without its image."""
    if self._step >= LENGTH:
      raise RuntimeError('the episode is over: call reset() before step()')
    self._step += 1
    self._points = np.clip(self._points + 0.2 * action['action'], -1, 1)
    return self._observe(1 - np.square(self._points).mean())

  def render(self):
    """Returns the image, uint8 [size, size, 3]."""
    distance = self._columns[None] - self._points[self._bands][:, None]
    spots = 255 * np.exp(-np.square(distance / 0.3))
    return np.repeat(spots.astype(np.uint8)[..., None], 3, -1)

  def close(self):
    """Nothing to free."""

  def _observe(self, reward):
    return {
        'reward': np.float32(reward),
        'is_first': self._step == 0,
        'is_last': self._step >= LENGTH,
        'is_terminal': False,
    }
