"""RoboDesk from pixels."""

import contextlib

import gymnasium
import mujoco
import numpy as np
from gym_notices import notices

from envs import render, simulator

# RoboDesk imports gym, which otherwise asks every process to replace it.
notices.notices.clear()

from robodesk import robodesk  # noqa: E402

LENGTH = 500
FRAME = 120  # Pixels of the square frame that the image is cut from.
ROWS, COLUMNS = slice(25, 89), slice(17, 105)


class RoboDesk(simulator.Simulator):
  """One task of `robot_names.ROBODESK`, with private randomness."""

  def __init__(self, name, seed, size, quality, camera, bounded, fix_rewards):
    """Builds the simulator and its renderer.

    Args:
      name: Task such as 'open_slide'.
      seed: Seed of the initial states.
      size: Image height and width in pixels.
      quality: 'exact' or 'fast'.
      camera: '', since the suite has one view only.
      bounded: Whether episodes end after the 500 steps of the suite.
      fix_rewards: Whether rewards compare objects with where they were at
        the start, as intended. The package compares them with where they
        are, so to it no object ever moves; published results have that.

    Raises:
      ValueError: If a camera is named.
    """
    if camera != '':
      raise ValueError(f"camera is {camera!r}: RoboDesk has only its own, ''")
    self._env = _Desk(name, episode_length=LENGTH if bounded else 0)
    physics = self._env.physics
    self._camera = render.Camera(
        physics.model.ptr, physics.data.ptr, FRAME, quality, _view())
    self._random = np.random.RandomState(seed).get_state()
    self._fix_rewards = fix_rewards
    self._size = size
    super().__init__(
        gymnasium.spaces.Box(-1, 1, (5,), np.float32), size, success=True)

  def render(self):
    """Returns the current image, uint8 [size, size, 3]."""
    frame = self._camera.render()[ROWS, COLUMNS]
    return render.resize(frame, self._size)

  def close(self):
    """Frees the renderer and the simulator."""
    self._camera.close()
    self._env.physics_copy.free()
    self._env.physics.free()

  def _start(self, seed):
    if seed is not None:
      self._random = np.random.RandomState(seed).get_state()
    with self._private_randomness():
      self._env.reset()
    if self._fix_rewards:
      # Copies of what are views into the running simulation.
      self._env.original_pos = {
          key: value.copy() for key, value in self._env.original_pos.items()}

  def _move(self, action):
    _, reward, over, _ = self._env.step(action)
    success = self._env.reward_functions[self._env.task]('success')
    return {
        'reward': reward, 'is_last': over, 'log_success': np.any(success)}

  @contextlib.contextmanager
  def _private_randomness(self):
    """Lends the global generator, which the package draws from."""
    before = np.random.get_state()
    np.random.set_state(self._random)
    try:
      yield
    finally:
      self._random = np.random.get_state()
      np.random.set_state(before)


class _Desk(robodesk.RoboDesk):
  """The package's environment without observations, so without rendering."""

  def _get_obs(self):
    return {}


def _view():
  camera = mujoco.MjvCamera()
  camera.distance, camera.azimuth, camera.elevation = 1.8, 90, -60
  camera.lookat[:] = 0, 0.535, 1.1
  return camera
