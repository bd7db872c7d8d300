"""Time limits, repeated actions and action bounds."""

import gymnasium
import numpy as np
import pytest

import envs
from envs import dummy, simulator, wrappers


def actions(amount, size=2, seed=0):
  """Returns random actions, one row per step."""
  return np.random.default_rng(seed).uniform(-1, 1, (amount, size))


def rollout(env, rows):
  """Returns the observations of one episode, the first one included."""
  return [env.reset()] + [env.step({'action': row}) for row in rows]


def test_action_repeat_adds_rewards_and_shows_the_last_image():
  single = rollout(envs.make('dummy_2'), actions(10).repeat(3, 0))
  repeated = rollout(envs.make('dummy_2', action_repeat=3), actions(10))
  for index, obs in enumerate(repeated[1:]):
    parts = single[1 + 3 * index: 4 + 3 * index]
    rewards = sum(float(part['reward']) for part in parts)
    np.testing.assert_allclose(obs['reward'], rewards, rtol=1e-6)
    np.testing.assert_array_equal(obs['image'], parts[-1]['image'])
    assert obs['reward'].dtype == np.float32


def test_action_repeat_stops_at_the_end():
  repeated = rollout(envs.make('dummy_2', action_repeat=3), actions(34))
  single = rollout(envs.make('dummy_2'), actions(34).repeat(3, 0)[:100])
  assert [obs['is_last'] for obs in repeated] == [False] * 34 + [True]
  assert repeated[-1]['reward'] == single[-1]['reward']


def test_time_limit_counts_agent_steps_and_is_not_terminal():
  env = envs.make('dummy_2', action_repeat=3, time_limit=7)
  for _ in range(2):
    episode = rollout(env, actions(7))
    assert [obs['is_first'] for obs in episode] == [True] + [False] * 7
    assert [obs['is_last'] for obs in episode] == [False] * 7 + [True]
    assert not any(obs['is_terminal'] for obs in episode)


@pytest.mark.parametrize('limit, length', [(0, dummy.LENGTH), (5, 5)])
def test_stepping_needs_a_running_episode(limit, length):
  env = envs.make('dummy_2', time_limit=limit)
  with pytest.raises(RuntimeError, match='reset'):
    env.step({'action': np.zeros(2)})
  rollout(env, actions(length))
  with pytest.raises(RuntimeError, match='reset'):
    env.step({'action': np.zeros(2)})


class Bounds:
  """Records the action it gets; the third one has no bounds."""

  act_space = {'action': gymnasium.spaces.Box(
      np.float32([0, -4, -np.inf]), np.float32([1, 4, np.inf]))}

  def step(self, action):
    return action['action']


def test_actions_are_scaled_to_finite_bounds():
  env = wrappers.NormalizeAction(Bounds())
  assert env.act_space['action'] == gymnasium.spaces.Box(
      -1, 1, (3,), np.float32)
  for given, expected in [
      ([-1, -1, -1], [0, -4, -1]), ([1, 1, 1], [1, 4, 1]),
      ([0, 0.5, 0.25], [0.5, 2, 0.25])]:
    np.testing.assert_allclose(env.step({'action': given}), expected)


@pytest.mark.parametrize('action', [[0, 0], [0, 0, np.nan], 0.5])
def test_malformed_actions_are_errors(action):
  with pytest.raises(ValueError, match='must be 3 finite numbers'):
    wrappers.NormalizeAction(Bounds()).step({'action': action})


class Flicker(simulator.Simulator):
  """Succeeds in every third frame only."""

  def _start(self, seed):
    self.frames = 0

  def _move(self, action):
    self.frames += 1
    return {'reward': 1, 'log_success': self.frames % 3 == 1}

  def render(self):
    return np.zeros((8, 8, 3), np.uint8)


def test_success_in_any_repeated_frame_counts():
  space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
  env = wrappers.ActionRepeat(Flicker(space, 8, success=True), 2)
  obs = [env.reset(), *(env.step({'action': [0]}) for _ in range(3))]
  assert [float(x['log_success']) for x in obs] == [0, 1, 1, 0]
