"""A tiny learnable environment without a simulator, for tests."""

import gymnasium
import numpy as np

from envs import simulator

LENGTH = 100


class Dummy(simulator.Simulator):
  """Points on lines, one per action, rewarded for staying in the middle.

  The image has one horizontal band per action with a soft spot at the point.
  """

  def __init__(self, actions, seed, size):
    super().__init__(
        gymnasium.spaces.Box(-1, 1, (actions,), np.float32), size)
    self._random = np.random.default_rng(seed)
    self._columns = np.linspace(-1, 1, size)
    self._bands = np.arange(size) * actions // size

  def render(self):
    """Returns the image, uint8 [size, size, 3]."""
    distance = self._columns[None] - self._points[self._bands][:, None]
    spots = 255 * np.exp(-np.square(distance / 0.3))
    return np.repeat(spots.astype(np.uint8)[..., None], 3, -1)

  def close(self):
    """Nothing to free."""

  def _start(self, seed):
    if seed is not None:
      self._random = np.random.default_rng(seed)
    self._step = 0
    self._points = self._random.uniform(-1, 1, self.act_space['action'].shape)

  def _move(self, action):
    self._step += 1
    self._points = np.clip(self._points + 0.2 * action, -1, 1)
    reward = 1 - np.square(self._points).mean()
    return {'reward': reward, 'is_last': self._step >= LENGTH}
