"""The DeepMind Control suite from pixels."""

import gymnasium
import mujoco
import numpy as np

from envs import dmc_variants, render, wrappers


class DMC:
  """One task of `envs.dmc_names`, with private randomness."""

  def __init__(self, name, seed, size, quality, camera, bounded):
    """Builds the simulator and its renderer.

    Args:
      name: Key of `dmc_names.TASKS`, such as 'walker_walk'.
      seed: Seed of the initial states.
      size: Image height and width in pixels.
      quality: 'exact' or 'fast'.
      camera: Number or name; 0 is the side view of walker and cheetah.
      bounded: Whether the time limit of the suite ends episodes.
    """
    self._env = dmc_variants.load(name, seed, bounded)
    physics = self._env.physics
    self._camera = render.Camera(
        physics.model.ptr, physics.data.ptr, size, quality, camera)
    spec = self._env.action_spec()
    # dm_control writes "no bound" as a large number.
    low, high = (
        np.where(np.abs(bound) < mujoco.mjMAXVAL, bound, np.inf)
        for bound in (spec.minimum, spec.maximum))
    self.obs_space = wrappers.observation_space(size)
    self.act_space = {
        'action': gymnasium.spaces.Box(
            np.float32(low), np.float32(high), spec.shape, np.float32)}
    self._over = True

  def reset(self):
    """Starts an episode and returns its first observation."""
    obs = self._observe(self._env.reset())
    return {**obs, 'image': self.render()}

  def step(self, action):
    """Applies {'action': ...} and returns the observation reached."""
    return {**self.advance(action), 'image': self.render()}

  def advance(self, action):
    """Applies the action; returns the observation without its image."""
    if self._over:
      raise RuntimeError('the episode is over: call reset() before step()')
    return self._observe(self._env.step(action['action']))

  def render(self):
    """Returns the current image, uint8 [size, size, 3]."""
    return self._camera.render()

  def close(self):
    """Frees the renderer and the simulator."""
    self._camera.close()
    self._env.close()

  def _observe(self, time_step):
    self._over = time_step.last()
    return {
        'reward': np.float32(time_step.reward or 0.0),
        'is_first': time_step.first(),
        'is_last': time_step.last(),
        'is_terminal': time_step.last() and time_step.discount == 0,
    }
