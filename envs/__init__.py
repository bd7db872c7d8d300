"""Environments with the DreamerV2 interface; nothing here loads TensorFlow.

Task names are `dmc_<domain>_<task>`, the slopes and lamed bodies listed in
`envs.dmc_names`, `metaworld_<task>` and `robodesk_<task>` with the tasks in
`envs.robot_names`, `gym_<id>` for what Gymnasium knows or `gym_<module>:<id>`
for what importing a module registers there (see `envs.gym`), and
`dummy_<number of actions>` for tests.
"""

import ctypes.util
import difflib
import numbers
import os
import pathlib
import sys

import gymnasium

from envs import dmc_names, robot_names, wrappers

QUALITIES = ('exact', 'fast')
# The backend that `envs.headless` saw rendering, kept with the libraries.
BACKEND = pathlib.Path(sys.prefix) / '.mujoco_gl'


def _backend():
  if BACKEND.is_file():
    return BACKEND.read_text().strip()
  return 'egl' if ctypes.util.find_library('EGL') else 'osmesa'


# Simulators read this once, when they are imported.
if 'MUJOCO_GL' not in os.environ:
  os.environ['MUJOCO_GL'] = _backend()


def make(task, seed=0, size=64, action_repeat=1, time_limit=0,
         quality='exact', camera='', fix_rewards=False, native=False):
  """Creates an environment in this process.

  Do not import TensorFlow into a process that rendered, nor the reverse: with
  software OpenGL it crashes. `envs.worker.Worker` works beside TensorFlow.

  Args:
    task: Name such as 'dmc_walker_walk'; see `check_task`.
    seed: Integer; environments of equal seeds give equal pixels.
    size: Image height and width in pixels.
    action_repeat: Simulator steps per agent step.
    time_limit: Agent steps per episode; 0 keeps the limit of the suite.
    quality: 'exact' renders like the suite, 'fast' without shadows,
      antialiasing and reflections. Their images must not be mixed. Gymnasium
      tasks have one quality.
    camera: Number or name of a camera of the simulator, '' for the usual one,
      which is the only one of RoboDesk and Gymnasium.
    fix_rewards: Whether RoboDesk's rewards see objects move; see
      `envs.robodesk`.
    native: Whether actions are those of the simulator, numbers within its
      bounds or a choice, instead of -1 to 1 or a one-hot vector.

  Raises:
    ValueError: If the task or a setting is unknown or out of range.
    RuntimeError: If TensorFlow in this process would crash the renderer.
  """
  check_task(task)
  _check_settings(seed, size, action_repeat, time_limit, quality)
  env = _simulator(
      task, seed, size, quality, camera, not time_limit, fix_rewards)
  if action_repeat > 1:
    env = wrappers.ActionRepeat(env, action_repeat)
  if time_limit:
    env = wrappers.TimeLimit(env, time_limit)
  if native:
    return env
  if isinstance(env.act_space['action'], gymnasium.spaces.Discrete):
    return wrappers.OneHotAction(env)
  return wrappers.NormalizeAction(env)


def check_task(task):
  """Raises a ValueError naming the nearest task if there is no such task."""
  suite, _, name = str(task).partition('_')
  if suite == 'dummy' and name.isdecimal() and int(name) > 0:
    return
  # Modules may need more than this process can load.
  if suite == 'gym' and name.count(':') == 1:
    return
  known = ['dummy_1']
  for suite, names in (
      ('dmc', dmc_names.TASKS), ('metaworld', robot_names.METAWORLD),
      ('robodesk', robot_names.ROBODESK), ('gym', gymnasium.registry)):
    known += [f'{suite}_{name}' for name in names]
  if task not in known:
    nearest = difflib.get_close_matches(str(task), known, n=1, cutoff=0)[0]
    raise ValueError(f"unknown task '{task}': did you mean '{nearest}'?")


def _check_settings(seed, size, action_repeat, time_limit, quality):
  ranges = {
      'seed': (seed, 0, 2 ** 32 - 1), 'size': (size, 8, 480),
      'action_repeat': (action_repeat, 1, 1000),
      'time_limit': (time_limit, 0, 10 ** 9)}
  for name, (value, low, high) in ranges.items():
    if not isinstance(value, numbers.Integral) or not low <= value <= high:
      raise ValueError(
          f'{name} is {value!r}: must be an integer from {low} to {high}')
  if quality not in QUALITIES:
    raise ValueError(
        f'quality is {quality!r}: must be one of {", ".join(QUALITIES)}')


def _simulator(task, seed, size, quality, camera, bounded, fix_rewards):
  # Each suite is imported by itself, since that takes seconds.
  suite, _, name = task.partition('_')
  if suite == 'dummy':
    from envs import dummy
    return dummy.Dummy(int(name), seed, size)
  _refuse_tensorflow(task)
  if suite == 'dmc':
    from envs import dmc
    return dmc.DMC(name, seed, size, quality, camera, bounded)
  if suite == 'metaworld':
    from envs import metaworld
    return metaworld.MetaWorld(name, seed, size, quality, camera, bounded)
  if suite == 'robodesk':
    from envs import robodesk
    return robodesk.RoboDesk(
        name, seed, size, quality, camera, bounded, fix_rewards)
  from envs import gym
  return gym.Gym(gym.load(name, camera, bounded), size, seed)


def _refuse_tensorflow(task):
  version = getattr(sys.modules.get('tensorflow'), '__version__', '0.0')
  if tuple(int(part) for part in version.split('.')[:2]) >= (2, 19):
    raise RuntimeError(
        f'{task}: TensorFlow {version} is loaded in this process and crashes '
        f"software rendering: use envs.worker.Worker('{task}', ...)")
