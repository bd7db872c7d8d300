"""Meta-World v3 from pixels."""

import math

import gymnasium
import numpy as np
from metaworld import env_dict

from envs import render, simulator


class MetaWorld(simulator.Simulator):
  """One task of `robot_names.METAWORLD`, with a new goal in every episode."""

  def __init__(self, name, seed, size, quality, camera, bounded):
    """Builds the simulator and its renderer.

    Args:
      name: Task without its version, such as 'door-close'.
      seed: Seed of goals and initial states.
      size: Image height and width in pixels.
      quality: 'exact' or 'fast'.
      camera: Number or name; '' is 'corner'.
      bounded: Whether episodes end after the 500 steps of the suite.
    """
    self._env = env_dict.ALL_V3_ENVIRONMENTS[f'{name}-v3']()
    # Instead of a goal from the task sets of the library's benchmarks.
    self._env._set_task_called = True
    self._env._freeze_rand_vec = False
    self._env.seeded_rand_vec = True
    self._env.seed(seed)
    if not bounded:
      self._env.max_path_length = math.inf
    index = render.find_camera(self._env.model, camera, 'corner')
    self._camera = render.Camera(
        self._env.model, self._env.data, size, quality, index)
    # Most cameras hang upside down. Only their rows are reversed, which makes
    # the images upright but mirrored, like those of Meta-World's first
    # renderer and thus of the paper.
    upward = self._env.data.camera(index).xmat.reshape(3, 3)[2, 1]
    self._rows = slice(None, None, -1 if upward < -0.1 else 1)
    super().__init__(
        gymnasium.spaces.Box(-1, 1, (4,), np.float32), size, success=True)

  def render(self):
    """Returns the current image, uint8 [size, size, 3]."""
    return self._camera.render()[self._rows]

  def close(self):
    """Frees the renderer and the simulator."""
    self._camera.close()
    self._env.close()

  def _start(self, seed):
    if seed is not None:
      self._env.seed(seed)
    self._env.reset()

  def _move(self, action):
    _, reward, _, truncated, info = self._env.step(action)
    return {
        'reward': reward,
        'is_last': truncated,
        'log_success': info['success'],
    }
