"""Gymnasium environments for tests, registered when this is imported."""

import os
import signal
import sys
import time

import gymnasium
import numpy as np

SHAPE = 24, 32  # Height and width of the images.


class Dot(gymnasium.Env):
  """A white dot that reaches the right edge, which ends the episode.

  Observes its picture if actions are discrete, its column otherwise.
  """

  metadata = {'render_modes': ['rgb_array'], 'render_fps': 10}

  def __init__(self, discrete, render_mode=None):
    self.render_mode = render_mode
    self._discrete = discrete
    if discrete:
      self.action_space = gymnasium.spaces.Discrete(3, start=-1)
      self.observation_space = gymnasium.spaces.Box(
          0, 255, (*SHAPE, 1), np.uint8)
    else:
      self.action_space = gymnasium.spaces.Box(
          np.float32([-4, -1]), np.float32([4, 1]))
      self.observation_space = gymnasium.spaces.Box(
          -np.inf, np.inf, (), np.float32)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._column = self.np_random.uniform(1, 20)
    return self._observe(), {}

  def step(self, action):
    assert self.action_space.contains(action), action
    self._column += float(np.sum(action))
    over = self._column > SHAPE[1] - 2
    info = {'success': over} if over else {}
    return self._observe(), float(over), over, False, info

  def render(self):
    distance = np.abs(np.arange(SHAPE[1]) - self._column)
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[2:6] = 255 * np.maximum(1 - distance / 3, 0)[None, :, None]
    return image

  def _observe(self):
    if self._discrete:
      return self.render()[..., :1]
    return np.array(self._column, np.float32)


class Stuck(Dot):
  """Never comes back from a step."""

  def __init__(self):
    super().__init__(discrete=True)

  def step(self, action):
    time.sleep(3600)


class Moody(Dot):
  """Pays something else each time."""

  def __init__(self, render_mode=None):
    super().__init__(False, render_mode)

  def step(self, action):
    image, _, *others = super().step(action)
    return image, np.random.default_rng().uniform(), *others


class Rubbish(Dot):
  """Gives or does something wrong in each step."""

  def __init__(self, kind):
    super().__init__(discrete=True)
    self._kind = kind

  def step(self, action):
    image, *others = super().step(action)
    match self._kind:
      case 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
      case 'memory':
        raise MemoryError('Unable to allocate 7 TiB')
      case 'exit':
        sys.exit(3)
      case 'float':
        image = np.full(image.shape, np.nan, np.float32)
      case 'small':
        image = image[:8]
      case 'blind':
        image = None
      case 'missing':
        return image, 0.0
      case reward:
        others[0] = {
            'none': None, 'nan': np.nan, 'inf': 1e300, 'two': [1, 2]}[reward]
    return image, *others


class Noisy(Dot):
  """Prints a lot."""

  def __init__(self):
    super().__init__(discrete=True)

  def step(self, action):
    os.write(1, b'noise' * 300_000 + b'\nand then \xff\n')
    return super().step(action)


class Faulty(Dot):
  """Fails at the second step of episodes that begin on the left."""

  def __init__(self, render_mode=None):
    super().__init__(False, render_mode)

  def reset(self, **kwargs):
    self._steps = 0
    return super().reset(**kwargs)

  def step(self, action):
    self._steps += 1
    if self._steps == 2 and self._column < 15:
      raise ValueError('the physics exploded')
    return super().step(action)


gymnasium.register('Stuck-v0', Stuck)
gymnasium.register('Moody-v0', Moody)
gymnasium.register('Noisy-v0', Noisy)
gymnasium.register('Faulty-v0', Faulty, max_episode_steps=4)
gymnasium.register(
    'Seen-v0', Dot, max_episode_steps=30, kwargs={'discrete': True})
gymnasium.register(
    'Drawn-v0', Dot, max_episode_steps=30, kwargs={'discrete': False})
for name in ('killed', 'memory', 'exit', 'float', 'small', 'blind', 'missing',
             'none', 'nan', 'inf', 'two'):
  gymnasium.register(f'Rubbish-{name}-v0', Rubbish, kwargs={'kind': name})
