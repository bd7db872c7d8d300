"""Names, settings and the conditions under which making one is refused."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import envs
from envs import dmc_names, dummy
from tests.envs.test_conformance import TASKS

ROOT = pathlib.Path(envs.__file__).parents[1]


@pytest.mark.parametrize('task', [
    *TASKS, 'dmc_walker_stand_downhill', 'dmc_cartpole_swingup_downhill',
    'dmc_ball_in_cup_uphill', 'metaworld_pick-place-wall', 'robodesk_stack',
    'gym_CartPole-v1', 'dummy_1', 'dummy_12'])
def test_known_tasks(task):
  envs.check_task(task)


@pytest.mark.parametrize('task, nearest', [
    ('dmc_walker_downhil', 'dmc_walker_downhill'),
    ('walker_walk', 'dmc_walker_walk'),
    ('dmc_cheeta_run', 'dmc_cheetah_run'),
    ('dmc_point_mas_easy', 'dmc_point_mass_easy'),
    ('door-close', 'metaworld_door-close'),
    ('metaworld_door_close', 'metaworld_door-close'),
    ('metaworld_door-close-v3', 'metaworld_door-close'),
    ('robodesk_open_slider', 'robodesk_open_slide'),
    ('gym_Walker2d-v6', 'gym_Walker2d-v5'),
    ('dummy_one', 'dummy_1'), ('dummy_0', 'dummy_1')])
def test_unknown_task_names_the_nearest(task, nearest):
  with pytest.raises(ValueError) as error:
    envs.make(task)
  assert str(error.value) == (
      f"unknown task '{task}': did you mean '{nearest}'?")


@pytest.mark.parametrize('setting', [
    {'size': 0}, {'size': 64.5}, {'size': '64'}, {'action_repeat': 0},
    {'time_limit': -1}, {'quality': 'best'}, {'seed': -1}, {'seed': None}])
def test_wrong_settings_are_named(setting):
  (name, value), = setting.items()
  with pytest.raises(ValueError, match=f'^{name} is {value!r}: must be'):
    envs.make('dummy_1', **setting)


def test_short_slope_names():
  names = dmc_names.TASKS
  assert names['walker_uphill'] == ('walker', 'walk', 'uphill')
  assert names['cheetah_downhill'] == ('cheetah', 'run', 'downhill')
  assert names['hopper_uphill'] == ('hopper', 'stand', 'uphill')
  assert names['point_mass_hard_uphill'] == ('point_mass', 'hard', 'uphill')


@pytest.mark.parametrize('version, refused', [
    ('2.18.1', False), ('2.19.0', True), ('2.21.0-rc1', True)])
def test_rendering_beside_new_tensorflow_is_refused(version, refused):
  script = f"""
import sys, types
sys.modules['tensorflow'] = types.ModuleType('tensorflow')
sys.modules['tensorflow'].__version__ = '{version}'
import envs
envs.make('dummy_1').reset()
try:
  envs.make('dmc_walker_walk').close()
except RuntimeError as error:
  assert 'envs.worker.Worker' in str(error), error
  print('refused')
"""
  output = subprocess.run(
      [sys.executable, '-c', script], cwd=ROOT, check=True, text=True,
      capture_output=True, timeout=120).stdout
  assert output.strip() == ('refused' if refused else '')


def test_checking_names_loads_no_simulator():
  script = """
import sys, envs
for task in ('dmc_walker_walk', 'metaworld_reach', 'robodesk_stack',
             'gym_Walker2d-v5', 'gym_os:Task-v0'):
  envs.check_task(task)
print([name for name in ('mujoco', 'dm_control', 'metaworld', 'robodesk',
                         'tensorflow') if name in sys.modules])
"""
  output = subprocess.run(
      [sys.executable, '-c', script], cwd=ROOT, check=True, text=True,
      capture_output=True, timeout=60).stdout
  assert output.strip() == '[]'


def test_dummy_can_be_learned_and_seen():
  env = envs.make('dummy_3', size=32)
  images, returns = [], []
  for gain in (0.0, 1.0):
    obs = env.reset()
    points = env.env._points
    total = 0.0
    while not obs['is_last']:
      obs = env.step({'action': np.clip(-5 * gain * points, -1, 1)})
      points = env.env._points
      total += float(obs['reward'])
    images.append(obs['image'])
    returns.append(total)
  assert returns[1] > 0.9 * dummy.LENGTH > returns[0]
  assert np.abs(images[0].astype(int) - images[1]).max() > 100
