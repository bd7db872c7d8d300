import os
import signal

import gymnasium
import numpy as np
import pytest

from dreamerv2_base import episodes
from envs import driver, worker


class Counting:
  """Shows its episode and step in the image, pays the action as reward.

  Episode lengths repeat in a cycle. All observations share their buffers. The
  second step of the given episodes is lost.
  """

  def __init__(self, lengths, lost=()):
    self.act_space = {'action': gymnasium.spaces.Box(-1, 1, (2,), np.float32)}
    self.resets = 0
    self.seeds = []
    self.steps = 0
    self._lengths, self._lost = lengths, lost
    self._obs = {
        'image': np.zeros((4, 4, 3), np.uint8), 'reward': np.zeros((), 'f4'),
        'is_first': np.zeros((), bool), 'is_last': np.zeros((), bool),
        'is_terminal': np.zeros((), bool)}

  def reset(self, seed=None, blocking=True):
    self.resets += 1
    self.seeds.append(seed)
    self._step = 0
    return self._promise(0, blocking)

  def step(self, action, blocking=True):
    assert not self._obs['is_last']
    if self.resets in self._lost and self._step == 1:
      self._step = None
      return lambda: None
    self.steps += 1
    self._step += 1
    return self._promise(action['action'][0], blocking)

  def _promise(self, reward, blocking):
    length = self._lengths[(self.resets - 1) % len(self._lengths)]
    self._obs['image'][..., 0] = self.resets
    self._obs['image'][..., 1] = self._step
    self._obs['reward'][...] = reward
    self._obs['is_first'][...] = self._step == 0
    self._obs['is_last'][...] = self._step == length
    return self._obs if blocking else lambda: self._obs


def policy(obs, state):
  """Answers a tenth of the step it sees; counts its calls in the state."""
  state = 0 if state is None else state + 1
  step = obs['image'][:, 0, 0, 1] / 10
  return {'action': np.stack([step, step], 1), 'logprob': step}, state


def test_rows_are_aligned():
  found = []
  run = driver.Driver([Counting([4])], [lambda ep, _: found.append(ep)])
  run(policy, episodes=2)
  for number, episode in enumerate(found, 1):
    episodes.checked(episode)
    assert (episode['image'][:, 0, 0, 0] == number).all()
    np.testing.assert_array_equal(
        episode['image'][:, 0, 0, 1], [0, 1, 2, 3, 4])
    # The action in row t + 1 answers the image in row t.
    np.testing.assert_allclose(
        episode['action'][:, 0], [0, 0, .1, .2, .3], rtol=1e-6)
    np.testing.assert_array_equal(episode['reward'], episode['action'][:, 0])
    assert episode['is_first'].tolist() == [True] + [False] * 4
    assert episode['is_last'].tolist() == [False] * 4 + [True]
    assert set(episode) == set(episodes.KEYS)
    assert {k: v.dtype for k, v in episode.items()} == {
        k: dtype for k, (dtype, _) in episodes.KEYS.items()}


def test_steps_are_counted_without_resets():
  envs = [Counting([3]), Counting([4])]
  run = driver.Driver(envs)
  run(policy, steps=5)  # Three vector steps.
  assert run.steps == 6 and run.episodes == 1
  assert [env.steps for env in envs] == [3, 3]
  run(policy, steps=2)
  assert run.steps == 8 and run.episodes == 2


def test_calls_continue_episodes_and_state():
  whole, parts = [], []
  states = []

  def remember(obs, state):
    states.append(state)
    return policy(obs, state)

  run = driver.Driver([Counting([3, 5])], [lambda ep, _: whole.append(ep)])
  run(remember, steps=16)
  assert states == [None, *range(15)]
  run = driver.Driver([Counting([3, 5])], [lambda ep, _: parts.append(ep)])
  for _ in range(16):
    run(policy, steps=1)
  assert [len(ep['reward']) for ep in whole] == [4, 6, 4, 6]
  for one, other in zip(whole, parts, strict=True):
    for key, value in one.items():
      np.testing.assert_array_equal(value, other[key])


@pytest.mark.parametrize('count, shares', [
    (1, [1, 0, 0]), (3, [1, 1, 1]), (7, [3, 2, 2])])
def test_episodes_are_shared_evenly(count, shares):
  envs = [Counting([9]), Counting([1]), Counting([2])]
  found = []
  run = driver.Driver(envs, [lambda ep, index: found.append(index)])
  run(policy, episodes=count)
  assert np.bincount(found, minlength=3).tolist() == shares
  assert run.episodes == count
  # Idle environments are not stepped.
  assert [env.steps for env in envs] == [
      share * length for share, length in zip(shares, [9, 1, 2], strict=True)]
  run(policy, episodes=3)
  assert run.episodes == count + 3


def test_reset_discards_running_episodes():
  env, found, states = Counting([4]), [], []

  def remember(obs, state):
    states.append(state)
    return policy(obs, state)

  run = driver.Driver([env], [lambda ep, _: found.append(ep)])
  run(remember, steps=3)
  run.reset()
  run(remember, episodes=1)
  assert states == [None, 0, 1, None, 0, 1, 2]
  assert env.resets == 2 and len(found) == 1
  assert len(found[0]['reward']) == 5
  assert (run.steps, run.episodes) == (7, 1)


def test_lost_episode_leaves_nothing_behind():
  envs = [Counting([4]), Counting([4], lost=[2, 4])]
  found = [], []
  run = driver.Driver(envs, [lambda ep, index: found[index].append(ep)])
  run(policy, steps=10)  # The second environment is in its second episode.
  assert run.steps == 10
  run(policy, steps=2)  # And loses it there; its first step is made again.
  assert (run.steps, envs[0].steps, envs[1].steps) == (12, 7, 6)
  run(policy, episodes=4)
  numbers = [[ep['image'][0, 0, 0, 0] for ep in eps] for eps in found]
  assert numbers == [[1, 2, 3], [1, 3, 5]]
  for episode in sum(found, []):
    np.testing.assert_array_equal(
        episode['image'][:, 0, 0, 1], [0, 1, 2, 3, 4])
    assert not episode['action'][0].any()
  assert run.episodes == 6
  # A step of the lost fourth episode was made, but does not count.
  assert envs[1].steps == 1 + 1 + 12 and run.steps == 2 * 12


def test_episodes_have_seeds_by_their_numbers():
  envs = [Counting([4]), Counting([2], lost=[2])]
  run = driver.Driver(envs, seed=lambda index, number: (index, number))
  run(policy, episodes=4)
  run(policy, steps=2)
  assert [env.seeds for env in envs] == [
      [(0, 0), (0, 1), (0, 2)], [(1, 0), (1, 1), (1, 1), (1, 2)]]
  run.reset()  # What had begun has to begin again.
  run(policy, steps=2)
  assert [env.seeds[-1] for env in envs] == [(0, 2), (1, 2)]
  env = Counting([1])
  driver.Driver([env])(policy, episodes=2)
  assert env.seeds == [None, None]


@pytest.mark.parametrize('limits, rows', [
    ({'steps': 200}, 200), ({'episodes': 2}, 200)])
def test_killed_simulator_is_replaced_within_a_run(limits, rows):
  envs = [worker.RestartingWorker('dummy_2', seed=seed) for seed in (3, 4)]
  found, calls = [], []

  def fatal(obs, state):
    calls.append(obs['is_first'].tolist())
    if len(calls) == 30:
      os.kill(envs[1]._worker._process.pid, signal.SIGKILL)
    return {'action': np.full((2, 2), 0.1, 'f4')}, state

  run = driver.Driver(envs, [lambda ep, index: found.append((index, ep))])
  run(fatal, **limits)
  for env in envs:
    env.close()
  assert calls[30] == [False, True]
  assert run.steps >= rows
  finished = [index for index, _ in found]
  assert finished == ([0, 1] if 'episodes' in limits else [0])
  for _, episode in found:
    episodes.checked(episode)
    assert len(episode['reward']) == 101


@pytest.mark.parametrize('limits', [{}, {'steps': 1, 'episodes': 1}])
def test_one_limit_is_needed(limits):
  with pytest.raises(ValueError, match='One of steps='):
    driver.Driver([Counting([1])])(policy, **limits)


def test_random_policy():
  space = {'action': gymnasium.spaces.Box(
      np.array([-1, 0], 'f4'), np.array([1, 5], 'f4'))}
  many = driver.RandomPolicy(space, 3)
  few = driver.RandomPolicy(space, 3)
  other = driver.RandomPolicy(space, 4)
  obs = lambda count: {'is_first': np.zeros(count, bool)}
  drawn = np.stack([many(obs(3))[0]['action'] for _ in range(500)])
  again = np.stack([few(obs(1))[0]['action'] for _ in range(500)])
  assert drawn.dtype == np.float32 and drawn.shape == (500, 3, 2)
  np.testing.assert_array_equal(drawn[:, :1], again)
  assert not np.isclose(drawn[:, 0], drawn[:, 1]).all(1).any()
  assert not np.isclose(drawn[0], other(obs(3))[0]['action']).any()
  low, high = drawn.min((0, 1)), drawn.max((0, 1))
  assert (low >= [-1, 0]).all() and (high <= [1, 5]).all()
  np.testing.assert_allclose(low, [-1, 0], atol=0.1)
  np.testing.assert_allclose(high, [1, 5], atol=0.1)


def test_choices_are_one_hot_vectors():
  env = Counting([3])
  env.act_space = space = {'action': gymnasium.spaces.Discrete(3)}
  found = []
  run = driver.Driver([env], [lambda ep, _: found.append(ep)])
  run(driver.RandomPolicy(space, 0), episodes=100)
  actions = np.stack([episode['action'] for episode in found])
  assert actions.dtype == np.float32 and actions.shape == (100, 4, 3)
  assert not actions[:, 0].any()
  assert set(actions[:, 1:].ravel()) == {0, 1}
  assert (actions[:, 1:].sum(-1) == 1).all()
  # Each 100 times of 300, 8 is the standard deviation.
  np.testing.assert_allclose(actions.sum((0, 1)), 100, atol=25)
