"""Workers that are lost: noticed, replaced, and not without end."""

import os
import pathlib
import signal

import numpy as np
import pytest

import envs
from envs import worker


def kill(env):
  os.kill(env._worker._process.pid, signal.SIGKILL)


def hang(env):
  env._worker._timeout = 0.3
  os.kill(env._worker._process.pid, signal.SIGSTOP)


def fail(env):
  env._worker.step({'action': np.zeros(2)})  # Now the next is one too many.


@pytest.mark.parametrize('accident, words', [
    (kill, 'died with exit status -9'), (hang, 'gave no answer in 0.3 sec'),
    (fail, 'failed: RuntimeError: the episode is over')])
def test_lost_worker_is_replaced(accident, words, caplog):
  env = worker.RestartingWorker('dummy_2', seed=3, time_limit=2)
  zeros, pid = {'action': np.zeros(2)}, env._worker._process.pid
  first = env.reset()
  env.step(zeros)
  accident(env)
  assert env.step(zeros, blocking=False)() is None
  record, = caplog.records
  message = record.getMessage()
  assert f'dummy_2 (seed 3): the worker {words}' in message
  assert '\n' not in message and record.levelname == 'WARNING'
  assert not pathlib.Path(f'/proc/{pid}').exists()
  seed = int(message.split()[-1])
  again = envs.make('dummy_2', seed=seed, time_limit=2).reset()
  obs = env.reset()
  np.testing.assert_array_equal(obs['image'], again['image'])
  assert (obs['image'] != first['image']).any() and obs['is_first']
  assert not env.step(zeros)['is_last'] and env.step(zeros)['is_last']
  # Lost at a reset there is no episode to miss.
  kill(env)
  obs = env.reset()
  assert obs['is_first'] and len(caplog.records) == 2
  assert f'seed {seed}' in caplog.records[1].getMessage()
  assert (obs['image'] != again['image']).any()
  pid = env._worker._process.pid
  env.close()
  env.close()
  assert not pathlib.Path(f'/proc/{pid}').exists()


@pytest.mark.parametrize('accident', [kill, hang])
def test_episode_with_a_seed_is_repeated(accident, caplog):
  random = np.random.default_rng(0)
  with worker.Worker('dummy_2', seed=4, time_limit=6) as other:
    env = worker.RestartingWorker('dummy_2', seed=3, time_limit=6)
    pairs = [(env.reset(4), other.reset())]
    for step in range(6):
      if step in (0, 3):
        accident(env)
      action = {'action': random.uniform(-1, 1, 2)}
      pairs.append((env.step(action), other.step(action)))
      action['action'][:] = 0  # Some reuse their buffers.
    accident(env)
    pairs.append((env.reset(5), other.reset(5)))
    accident(env)
    pairs.append((env.step(action), other.step(action)))
  assert len(caplog.records) == 4
  for one, expected in pairs:
    for key in expected:
      np.testing.assert_array_equal(one[key], expected[key])
  env.close()


def test_accidents_in_episodes_that_are_cut_off_do_not_add_up():
  action = {'action': np.ones(2)}
  env = worker.RestartingWorker('dummy_2', seed=3)
  with worker.Worker('dummy_2') as other:
    for seed in range(4):
      env.reset(seed)
      other.reset(seed)
      kill(env)
      np.testing.assert_array_equal(
          env.step(action)['image'], other.step(action)['image'])
  env.close()


def test_episode_that_is_lost_again_gets_another_seed(caplog):
  task, found = 'gym_tests.envs.dots:Faulty-v0', []
  for _ in range(2):
    env = worker.RestartingWorker(task, seed=3)
    first = env.reset(7)
    zeros = {'action': np.zeros(2)}
    assert not env.step(zeros)['is_last']
    assert env.step(zeros) is None  # Both times, as its column says.
    assert len(caplog.records) == 2
    found.append(env.reset(7)['image'])
    while not env.step(zeros)['is_last']:
      pass
    np.testing.assert_array_equal(env.reset(7)['image'], first['image'])
    assert 'gym_tests.envs.dots:Faulty-v0 (seed 7)' in caplog.messages[0]
    caplog.clear()
    env.close()
  np.testing.assert_array_equal(*found)
  assert (found[0] != first['image']).any()


def test_episode_that_goes_otherwise_is_not_repeated():
  env = worker.RestartingWorker('gym_tests.envs.dots:Moody-v0', seed=3)
  env.reset(7)
  env.step({'action': np.zeros(2)})
  kill(env)
  assert env.step({'action': np.zeros(2)}) is None
  env.close()


def test_replacements_are_limited_and_the_same_each_time(caplog):
  zeros, seeds = {'action': np.zeros(2)}, []
  for _ in range(2):
    env = worker.RestartingWorker('dummy_2', seed=3, time_limit=1)
    for _ in range(2):
      for _ in range(2):
        env.reset()
        kill(env)
        assert env.step(zeros) is None
      # A complete episode forgives both.
      env.reset()
      assert env.step(zeros)['is_last']
    seeds.append([text.split()[-1] for text in caplog.messages])
    caplog.clear()
    for _ in range(2):
      kill(env)
      env.reset()
    caplog.clear()
    kill(env)
    with pytest.raises(worker.WorkerError, match='last of 3 failures'):
      env.reset()
    assert not caplog.records
    env.close()
  assert seeds[0] == seeds[1] and len(set(seeds[0])) == 4


def test_workers_that_do_not_start_are_limited(caplog):
  with pytest.raises(worker.WorkerError, match='last of 3 failures'):
    worker.RestartingWorker('dummy_2', timeout=0.01)
  assert len(caplog.records) == 2


def test_wrong_input_is_not_retried(caplog):
  with pytest.raises(ValueError, match='did you mean'):
    worker.RestartingWorker('dummy_x')
  env = worker.RestartingWorker('dummy_2')
  env.reset()
  with pytest.raises(ValueError, match='2 finite numbers'):
    env.step({'action': np.zeros(3)})
  env.close()
  assert not caplog.records
