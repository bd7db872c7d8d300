import gymnasium
import numpy as np
import pytest

from dreamerv2_base import driver, episodes


class Counting:
  """Shows its episode and step in the image, pays the action as reward.

  Episode lengths repeat in a cycle. All observations share their buffers.
  """

  def __init__(self, lengths):
    self.act_space = {'action': gymnasium.spaces.Box(-1, 1, (2,), np.float32)}
    self.resets = 0
    self.steps = 0
    self._lengths = lengths
    self._obs = {
        'image': np.zeros((4, 4, 3), np.uint8), 'reward': np.zeros((), 'f4'),
        'is_first': np.zeros((), bool), 'is_last': np.zeros((), bool),
        'is_terminal': np.zeros((), bool)}

  def reset(self, blocking=True):
    self.resets += 1
    self._step = 0
    return self._promise(0, blocking)

  def step(self, action, blocking=True):
    assert not self._obs['is_last']
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
