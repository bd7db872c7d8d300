"""What is special about Meta-World."""

import numpy as np
import pytest

import envs
from envs import robot_names
from tests.envs.test_conformance import METAWORLD, rollout


def test_names_are_those_of_the_installed_library():
  from metaworld import env_dict
  assert set(env_dict.ALL_V3_ENVIRONMENTS) == {
      f'{name}-v3' for name in robot_names.METAWORLD}


# Their policies ask for more than the highest speed, which is then clipped.
@pytest.mark.filterwarnings('ignore:Constant')
@pytest.mark.parametrize('task', METAWORLD)
def test_scripted_policies_succeed(task):
  from metaworld import policies
  env = envs.make(task, quality='fast')
  name = task.removeprefix('metaworld_')
  policy = policies.ENV_POLICY_MAP[f'{name}-v3']()
  library, goals, rewards = env.env._env, [], []
  library._partially_observable = False  # The goal is part of its state.
  for _ in range(2):
    env.reset()
    goals.append(library._target_pos.tolist())
    obs = {'log_success': 0}
    while not obs['log_success']:
      action = np.clip(policy.get_action(library._get_obs()), -1, 1)
      obs = env.env.advance({'action': action})
      rewards.append(obs['reward'])
      assert not obs['is_last']
  assert goals[0] != goals[1]
  assert max(rewards) > 1
  env.close()


def test_cameras_by_number_and_name():
  corner, _ = rollout(METAWORLD[0], 0)
  same, _ = rollout(METAWORLD[0], 0, camera='1')
  top, _ = rollout(METAWORLD[0], 0, camera='topview')
  first, _ = rollout(METAWORLD[0], 0, camera=0)
  np.testing.assert_array_equal(corner, same)
  np.testing.assert_array_equal(top, first)
  assert (corner != top).any()
  with pytest.raises(ValueError, match='camera is 7: .* topview, corner'):
    envs.make(METAWORLD[0], camera=7)


@pytest.mark.parametrize('camera, order', [
    ('corner', -1), ('corner3', -1), ('topview', 1), ('behindGripper', 1)])
def test_rows_are_reversed_where_the_camera_hangs_upside_down(camera, order):
  env = envs.make(METAWORLD[0], camera=camera, quality='fast')
  image = env.reset()['image']
  renderer = env.env._camera._renderer
  renderer.update_scene(env.env._env.data, camera)
  np.testing.assert_array_equal(image, renderer.render()[::order])
  env.close()
