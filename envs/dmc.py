"""The DeepMind Control suite from pixels."""

import gymnasium
import mujoco
import numpy as np

from envs import dmc_variants, render, simulator


class DMC(simulator.Simulator):
  """One task of `envs.dmc_names`, with private randomness."""

  def __init__(self, name, seed, size, quality, camera, bounded):
    """Builds the simulator and its renderer.

    Args:
      name: Key of `dmc_names.TASKS`, such as 'walker_walk'.
      seed: Seed of the initial states.
      size: Image height and width in pixels.
      quality: 'exact' or 'fast'.
      camera: Number or name; '' is 0, the side view of walker and cheetah.
      bounded: Whether the time limit of the suite ends episodes.
    """
    self._name = name
    self._env = dmc_variants.load(name, seed, bounded)
    model, data = self._env.physics.model.ptr, self._env.physics.data.ptr
    self._camera = render.Camera(
        model, data, size, quality, render.find_camera(model, camera, 0))
    spec = self._env.action_spec()
    # dm_control writes "no bound" as a large number.
    low, high = (
        np.where(np.abs(bound) < mujoco.mjMAXVAL, bound, np.inf)
        for bound in (spec.minimum, spec.maximum))
    super().__init__(gymnasium.spaces.Box(
        np.float32(low), np.float32(high), spec.shape, np.float32), size)

  def render(self):
    """Returns the current image, uint8 [size, size, 3]."""
    return self._camera.render()

  def close(self):
    """Frees the renderer and the simulator."""
    self._camera.close()
    self._env.close()

  def _start(self, seed):
    if seed is not None:
      dmc_variants.reseed(self._env, self._name, seed)
    self._env.reset()

  def _move(self, action):
    time_step = self._env.step(action)
    return {
        'reward': time_step.reward,
        'is_last': time_step.last(),
        'is_terminal': time_step.last() and time_step.discount == 0,
    }
