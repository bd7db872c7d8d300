"""Environments of Gymnasium and of users."""

import pathlib
import re

import gymnasium
import numpy as np
import pytest

import envs
from envs import gym, wrappers
from tests.envs import dots

DOCS = pathlib.Path(__file__).parents[2] / 'docs'
SEEN = 'gym_tests.envs.dots:Seen-v0'
DRAWN = 'gym_tests.envs.dots:Drawn-v0'
RIGHT = {SEEN: [0.2, 0.1, 0.7], DRAWN: [1, 1]}  # Actions.


def brightest(image):
  """Row and column of the brightest pixel."""
  return np.unravel_index(image.sum(-1).argmax(), image.shape[:2])


@pytest.mark.parametrize('task', [SEEN, DRAWN])
def test_terminal_states_and_success_are_told(task):
  env = envs.make(task)
  action = {'action': RIGHT[task]}
  steps = [env.reset(), env.step(action)]
  while not steps[-1]['is_last']:
    steps.append(env.step(action))
  env.close()
  flags = [False] * (len(steps) - 1) + [True]
  for key in ('is_last', 'is_terminal', 'log_success', 'reward'):
    assert [bool(obs[key]) for obs in steps] == flags, key


@pytest.mark.parametrize('task', [SEEN, DRAWN])
def test_images_are_scaled_upright_and_follow_the_actions(task):
  env = envs.make(task, size=48)
  dot, columns = env.env._env.unwrapped, []
  for act in (env.reset, lambda: env.step({'action': RIGHT[task]})):
    row, column = brightest(act()['image'])
    assert 3 <= row < 12
    # Rows and columns are scaled by 2 and 1.5, and pixels have centers.
    assert abs(column + 0.5 - 1.5 * (dot._column + 0.5)) < 1.5
    columns.append(column)
  assert columns[1] > columns[0]
  env.close()


@pytest.mark.parametrize('frame, words', [
    (np.zeros((24, 32, 2), np.uint8), 'uint8 [24, 32, 2]'),
    (np.zeros(32, np.uint8), 'uint8 [32]'),
    (np.zeros((24, 32), bool), 'bool [24, 32]'), (None, 'object []')])
def test_what_is_drawn_must_be_an_image(frame, words):
  class Strange(dots.Dot):
    def render(self):
      return frame

  env = gym.Gym(Strange(False, 'rgb_array'))
  message = re.escape(f'image is {words}: must be uint8 [H, W, 3]')
  with pytest.raises(ValueError, match=message):
    env.reset()


def test_discrete_actions_are_the_largest_entries():
  env = envs.make(SEEN)
  env.reset()
  dot = env.env._env.unwrapped
  for vector, shift in (([9, 0, 1], -1), ([0, 1, 0], 0), ([-3, -2, -1], 1)):
    before = dot._column
    env.step({'action': np.float32(vector)})
    assert dot._column == before + shift
  for wrong in ([0, 1], [0, 1, np.nan], 2):
    with pytest.raises(ValueError, match='must be 3 finite numbers'):
      env.step({'action': wrong})
  env.close()


def test_own_environments_can_be_wrapped():
  own = dots.Dot(discrete=False, render_mode='rgb_array')
  env = wrappers.TimeLimit(wrappers.NormalizeAction(gym.Gym(own, 16, 3)), 4)
  obs, steps = env.reset(), 0
  while not obs['is_last']:
    obs, steps = env.step({'action': np.zeros(2)}), steps + 1
  assert steps == 4 and obs['image'].shape == (16, 16, 3)


def test_a_simulator_of_gymnasium():
  env = envs.make('gym_InvertedPendulum-v5', size=16)
  obs = env.reset()
  assert obs['image'].shape == (16, 16, 3) and np.ptp(obs['image']) > 50
  assert not env.step({'action': np.zeros(1)})['is_last']
  env.close()


@pytest.mark.parametrize('own, message', [
    (dots.Dot(discrete=False), "no images: needs render_mode='rgb_array'"),
    (gymnasium.Env(), 'must be Discrete or a Box')])
def test_unfit_environments_are_refused(own, message):
  own.action_space = getattr(
      own, 'action_space', gymnasium.spaces.MultiBinary(2))
  with pytest.raises(ValueError, match=message):
    gym.Gym(own)


@pytest.mark.parametrize('task, settings, message', [
    ('gym_CartPole-v7', {}, "did you mean 'gym_CartPole-v1'"),
    ('gym_no_such_module:Task-v0', {}, 'no_such_module'),
    ('gym_tests.envs.dots:Sean-v0', {}, 'Sean'),
    (SEEN, {'camera': 'side'}, "camera is 'side'")])
def test_what_is_missing_is_named(task, settings, message):
  with pytest.raises(ValueError, match=message):
    envs.make(task, **settings)


def test_environments_of_the_documentation_work(tmp_path, monkeypatch):
  text = (DOCS / 'suites.md').read_text()
  own, simulator = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
  (tmp_path / 'my_package.py').write_text(own)
  monkeypatch.syspath_prepend(tmp_path)
  built = {}
  exec(simulator, built)
  for env in (envs.make('gym_my_package:Slider-v0'), built['env']):
    obs, length = env.reset(), 0
    while not obs['is_last']:
      obs = env.step({'action': np.ones(1)})
      length += 1
    assert obs['image'].shape == (64, 64, 3) and obs['reward'] == 1
    assert length == 100
    env.close()
