"""What is special about the DeepMind Control suite."""

import numpy as np
import pytest

import envs
from envs import dmc_names
from tests.envs.test_conformance import rollout


def test_names_are_those_of_the_installed_suite():
  from dm_control import suite
  assert dict(suite.TASKS_BY_DOMAIN) == dmc_names.TASKS_BY_DOMAIN


def test_exact_quality_is_the_picture_of_the_suite():
  from dm_control import suite
  env = suite.load('cheetah', 'run', {'random': 5})
  env.reset()
  expected = [env.physics.render(64, 64, camera_id=0)]
  random = np.random.default_rng(0)
  for _ in range(2):
    env.step(random.uniform(-1, 1, 6))
    expected.append(env.physics.render(64, 64, camera_id=0))
  images, _ = rollout('dmc_cheetah_run', 2, seed=5, quality='exact')
  np.testing.assert_array_equal(images, expected)


def test_terminal_states_are_marked():
  # The only stock task that terminates does so when its masses are at rest.
  env = envs.make('dmc_lqr_lqr_2_1', size=8, quality='fast')
  assert env.act_space['action'].high.tolist() == [1]
  env.reset()
  assert not env.step({'action': np.zeros(1)})['is_terminal']
  physics = env.env._env.physics
  physics.set_state(np.zeros(4))
  physics.forward()
  obs = env.step({'action': np.zeros(1)})
  env.close()
  assert obs['is_last'] and obs['is_terminal']


def test_cameras_by_number_and_name():
  side, _ = rollout('dmc_walker_walk', 1, camera='side')
  first, _ = rollout('dmc_walker_walk', 1, camera=0)
  back, _ = rollout('dmc_walker_walk', 1, camera=1)
  np.testing.assert_array_equal(side, first)
  assert (side != back).any()
  with pytest.raises(ValueError, match='camera is 7: .* side, back'):
    envs.make('dmc_walker_walk', camera=7)
