"""Evaluation: what is returned, and that every simulator is closed."""

import json

import gymnasium
import numpy as np
import pytest

from coworld_tf import evaluate, seeds
from envs import driver, evaluation, worker


class Simulator:
  """Episodes of one to three steps that pay the seed at each.

  With `successes`, the given numbers of steps are the moments of success.
  """

  def __init__(self, seed, log, successes=None):
    self.act_space = {'action': gymnasium.spaces.Box(-1, 1, (2,), np.float32)}
    self._seed, self._log, self._episode = seed, log, 0
    self._successes = successes
    log.append(('open', seed))

  def reset(self, seed=None, blocking=True):
    self._log.append(('reset', seed))
    self._episode += 1
    self._step = 0
    return self._obs

  def step(self, action, blocking=True):
    self._step += 1
    return self._obs

  def close(self):
    self._log.append(('close', self._seed))

  def _obs(self):
    success = {} if self._successes is None else {
        'log_success': np.float32(self._step in self._successes)}
    return {
        **success,
        'image': np.full((4, 4, 3), 10 * self._episode, np.uint8),
        'reward': np.float32(self._step and self._seed % 7),
        'is_first': np.bool_(self._step == 0),
        'is_last': np.bool_(self._step == self._episode),
        'is_terminal': np.bool_(False)}


def run(count, envs, log, seed=3):
  return evaluation.evaluate(
      lambda seed: Simulator(seed, log),
      lambda space: driver.RandomPolicy(space, 0), count, envs, seed)


def test_result():
  log = []
  result = run(count=3, envs=1, log=log)
  (_, seed), *resets, closed = log
  assert closed == ('close', seed)
  assert {event for event, _ in resets} == {'reset'}
  assert result['lengths'] == [1, 2, 3]
  assert result['returns'] == [seed % 7 * steps for steps in (1, 2, 3)]
  assert set(result) == {'returns', 'lengths', 'successes', 'video'}
  assert result['successes'] == []
  assert result['video'].shape == (2, 4, 4, 3)
  assert (result['video'] == 10).all()


def test_success_at_any_step_is_one_of_the_episode():
  result = evaluation.evaluate(
      lambda seed: Simulator(seed, [], successes=[2]),
      lambda space: driver.RandomPolicy(space, 0), 3, 1, 0)
  assert result['successes'] == [False, True, True]
  assert json.dumps(result['successes'])


def test_seeds_and_number_of_simulators():
  logs = [], [], []
  for log, seed in zip(logs, (3, 3, 4), strict=True):
    assert len(run(2, 5, log, seed)['returns']) == 2
    assert len({name for event, name in log if event == 'reset'}) == 2
  assert logs[0] == logs[1] != logs[2]


def test_simulators_are_closed_when_one_fails_to_start():
  log = []

  def make_env(seed):
    if len(log) == 2:
      raise ValueError('no display')
    return Simulator(seed, log)

  with pytest.raises(ValueError, match='no display'):
    evaluation.evaluate(make_env, lambda space: None, 3, 3, 0)
  opened = {seed for event, seed in log if event == 'open'}
  assert {seed for event, seed in log if event == 'close'} == opened
  assert len(opened) == 2


def test_statistics():
  assert evaluate.statistics([1, 3]) == pytest.approx(
      {'mean': 2, 'stderr': 1, 'episodes': 2})
  assert evaluate.statistics([1, 3], [True, False])['success'] == 0.5
  assert evaluate.statistics([4]) == {'mean': 4, 'stderr': 0, 'episodes': 1}


@pytest.mark.parametrize('seed', range(5))
def test_seeds_are_none_of_training(seed):
  log = []
  run(16, 8, log, seed)
  given = {number for event, number in log if event == 'reset'}
  assert len(given) == 16
  assert all(2 ** 31 <= number < 2 ** 32 for _, number in log)
  assert all(
      seeds.make(seed, stream, index) < 2 ** 31
      for stream in range(10) for index in range(9))


@pytest.mark.parametrize('task', [
    'dmc_walker_downhill', 'metaworld_handle-press', 'robodesk_push_green',
    'gym_HalfCheetah-v5'])
def test_suites_take_the_highest_seed(task):
  with worker.Worker(task, 2 ** 32 - 1, quality='fast') as env:
    assert env.reset()['is_first']


def test_further_functions_see_every_episode():
  seen = []
  evaluation.evaluate(
      lambda seed: Simulator(seed, []),
      lambda space: driver.RandomPolicy(space, 0), 3, 1, 0,
      [lambda episode, index: seen.append(len(episode['reward']) - 1)])
  assert seen == [1, 2, 3]
