"""Gymnasium environments from pixels.

An environment of your own is used by its name once it is registered: as
`gym_my_package:MyEnv-v0` if importing `my_package` registers MyEnv-v0. An
object is wrapped without a name:

  env = gym.Gym(MyEnv(render_mode='rgb_array'), size=64)
  env = wrappers.NormalizeAction(env)  # or OneHotAction, for Discrete actions
  obs = env.reset()
  while not obs['is_last']:
    obs = env.step({'action': policy(obs['image'])})
"""

import gymnasium
import numpy as np

from envs import render, simulator


class Gym(simulator.Simulator):
  """Any gymnasium.Env that observes or renders RGB or gray images.

  `log_success` is what the environment reports as 'success' or 'is_success' in
  its info, 0 if it reports nothing.
  """

  def __init__(self, env, size=64, seed=0):
    """Wraps an environment.

    Args:
      env: gymnasium.Env whose observations are images, uint8 [H, W, 3],
        [H, W, 1] or [H, W], or whose render_mode is 'rgb_array'; with
        Discrete actions or a vector of numbers.
      size: Image height and width in pixels, to which images are scaled.
      seed: Given to the first reset, unless that has its own.

    Raises:
      ValueError: If there is no image or the actions are of another kind.
    """
    space = env.action_space
    vector = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
    if not vector and not isinstance(space, gymnasium.spaces.Discrete):
      raise ValueError(
          f'{env} has actions {space}: must be Discrete or a Box with one '
          'dimension')
    self._sees = observes_images(env)
    if not self._sees and env.render_mode != 'rgb_array':
      raise ValueError(
          f"{env} has no images: needs render_mode='rgb_array' or "
          'observations uint8 [H, W, 3]')
    super().__init__(space, size, success=True)
    self._env = env
    self._size = size
    self._seed = seed

  def render(self):
    """Returns the current image, uint8 [size, size, 3].

    Raises:
      ValueError: If the environment gives something else than such an image.
    """
    frame = np.asarray(self._obs if self._sees else self._env.render())
    shape = self._env.observation_space.shape if self._sees else frame.shape
    if frame.dtype != np.uint8 or frame.shape != shape or not _is_image(shape):
      raise ValueError(
          f'image is {frame.dtype} {list(frame.shape)}: must be uint8 '
          f'{list(shape) if self._sees else "[H, W, 3]"}')
    if frame.shape[2:] == (1,):
      frame = frame[..., 0]
    return render.resize(frame, self._size)

  def close(self):
    """Closes the environment."""
    self._env.close()

  def _start(self, seed):
    seed = self._seed if seed is None else seed
    self._obs, _ = self._env.reset(seed=seed)
    # The generator goes on; the same seed would repeat the episode.
    self._seed = None

  def _move(self, action):
    action = self._env.action_space.dtype.type(action)
    self._obs, reward, terminated, truncated, info = self._env.step(action)
    return {
        'reward': reward,
        'is_last': terminated or truncated,
        'is_terminal': terminated,
        'log_success': np.any(
            info.get('success', info.get('is_success', False))),
    }


def load(name, camera, bounded):
  """Makes a registered environment, one that renders if it has to.

  Args:
    name: Gymnasium's id, such as 'HalfCheetah-v5'.
    camera: '', since only the environment itself knows its cameras.
    bounded: Whether the registered time limit ends episodes.

  Raises:
    ValueError: If a camera is named, or the environment or something that it
      needs is missing.
  """
  if camera != '':
    raise ValueError(f"camera is {camera!r}: gym_{name} has only its own, ''")
  settings = {} if bounded else {'max_episode_steps': -1}
  try:
    env = gymnasium.make(name, **settings)
    if not observes_images(env):
      env.close()
      env = gymnasium.make(name, render_mode='rgb_array', **settings)
  except (gymnasium.error.Error, ImportError) as error:
    raise ValueError(f'gym_{name}: {error}') from error
  return env


def observes_images(env):
  """Whether the observations of a gymnasium.Env are RGB or gray images."""
  space = env.observation_space
  return (
      isinstance(space, gymnasium.spaces.Box) and space.dtype == np.uint8
      and _is_image(space.shape))


def _is_image(shape):
  return len(shape) > 1 and shape[2:] in ((), (1,), (3,))
