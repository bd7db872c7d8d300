"""The contract of an environment, for the tasks of the paper."""

import numpy as np
import pytest

import envs
from envs import dmc_names

TASKS = [
    'dmc_walker_walk', 'dmc_walker_uphill', 'dmc_walker_downhill',
    'dmc_walker_nofoot', 'dmc_cheetah_run', 'dmc_cheetah_uphill',
    'dmc_cheetah_downhill', 'dmc_cheetah_nopaw']


def rollout(task, steps=4, episodes=1, **settings):
  """Returns images and rewards of random episodes of a new environment."""
  env = envs.make(task, **{'quality': 'fast', **settings})
  random = np.random.default_rng(0)
  seen = []
  for _ in range(episodes):
    seen.append(env.reset())
    for _ in range(steps):
      action = random.uniform(-1, 1, env.act_space['action'].shape)
      seen.append(env.step({'action': action}))
  env.close()
  return (np.array([obs['image'] for obs in seen]),
          np.array([obs['reward'] for obs in seen]))


def test_names_are_those_of_the_installed_suite():
  from dm_control import suite
  assert dict(suite.TASKS_BY_DOMAIN) == dmc_names.TASKS_BY_DOMAIN


@pytest.mark.parametrize('task', [*TASKS, 'dmc_cartpole_swingup_downhill'])
def test_conforms_to_its_spaces(task):
  env = envs.make(task, quality='fast')
  size = 1 if 'cartpole' in task else 6
  assert env.act_space['action'].shape == (size,)
  assert env.act_space['action'].low.tolist() == [-1] * size
  assert env.act_space['action'].high.tolist() == [1] * size
  first = env.reset()
  second = env.step({'action': np.full(size, 0.5, np.float32)})
  for obs in (first, second):
    assert set(obs) == set(env.obs_space)
    for key, space in env.obs_space.items():
      value = np.asarray(obs[key])
      assert (value.dtype, value.shape) == (space.dtype, space.shape), key
      assert space.contains(value), key
    assert obs['image'].shape == (64, 64, 3)
    assert np.ptp(obs['image']) > 50
    assert not obs['is_last'] and not obs['is_terminal']
  assert first['is_first'] and not second['is_first']
  assert first['reward'] == 0
  assert (first['image'] != second['image']).any()
  env.close()


@pytest.mark.parametrize('task', TASKS)
def test_seeds_decide_the_pixels(task):
  np.random.seed(1)
  images, rewards = rollout(task, seed=3, episodes=2)
  np.random.seed(2)
  again, same = rollout(task, seed=3, episodes=2)
  other, _ = rollout(task, seed=4)
  np.testing.assert_array_equal(images, again)
  np.testing.assert_array_equal(rewards, same)
  assert (images[0] != images[5]).any()
  assert (images[0] != other[0]).any()


def test_global_randomness_is_left_alone():
  np.random.seed(1)
  before = np.random.get_state()[1].copy()
  rollout('dmc_walker_downhill')
  np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_environments_do_not_disturb_each_other():
  alone, _ = rollout('dmc_walker_walk', seed=1)
  env = envs.make('dmc_walker_walk', seed=1, quality='fast')
  peer = envs.make('dmc_cheetah_uphill', seed=1, size=32, quality='fast')
  random = np.random.default_rng(0)
  images = [env.reset()['image']]
  peer.reset()
  for _ in range(4):
    images.append(env.step({'action': random.uniform(-1, 1, 6)})['image'])
    assert peer.step({'action': np.ones(6)})['image'].shape == (32, 32, 3)
  np.testing.assert_array_equal(images, alone)
  env.close()
  peer.close()


@pytest.mark.parametrize('task', ['dmc_walker_walk', 'dmc_cheetah_run'])
def test_quality_changes_pixels_but_not_dynamics(task):
  fast, rewards = rollout(task, quality='fast')
  exact, same = rollout(task, quality='exact')
  np.testing.assert_array_equal(rewards, same)
  assert (fast != exact).any()
  assert np.abs(fast.astype(float) - exact).mean() < 30


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


@pytest.mark.parametrize('task', ['dmc_walker_nofoot', 'dmc_cheetah_uphill'])
def test_an_episode_is_1000_frames(task):
  env = envs.make(task, size=8, quality='fast', action_repeat=2)
  env.reset()
  steps = [env.step({'action': np.zeros(6)}) for _ in range(500)]
  env.close()
  assert [obs['is_last'] for obs in steps] == [False] * 499 + [True]
  assert not steps[-1]['is_terminal']


@pytest.mark.parametrize('limit, repeat', [(3, 2), (1005, 1)])
def test_time_limit_replaces_that_of_the_suite(limit, repeat):
  env = envs.make(
      'dmc_cheetah_run', size=8, quality='fast', action_repeat=repeat,
      time_limit=limit)
  env.reset()
  steps = [env.step({'action': np.zeros(6)}) for _ in range(limit)]
  assert [obs['is_last'] for obs in steps] == [False] * (limit - 1) + [True]
  assert not steps[-1]['is_terminal']
  with pytest.raises(RuntimeError, match='reset'):
    env.step({'action': np.zeros(6)})
  env.close()


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
