"""Programs whose simulators are lost while they run."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np

from benchmarks import fault_runs
from dreamerv2_base import episodes, logger, store
from envs import evaluation, worker

ROOT = pathlib.Path(__file__).resolve().parents[1]
COLLECT = '-m', 'coworld_tf.datasets.collect', '--size', '16', '--task'


class Broken(gymnasium.Env):
  """Has no reward at the second step while the file $BROKEN is there."""

  action_space = gymnasium.spaces.Discrete(2)
  observation_space = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._steps = 0
    return self.observation_space.sample(), {}

  def step(self, action):
    self._steps += 1
    broken = self._steps == 2 and os.path.exists(os.environ['BROKEN'])
    reward = None if broken else 0.0
    return self.observation_space.sample(), reward, False, False, {}


gymnasium.register('Broken-v0', Broken, max_episode_steps=25)


def start(arguments, broken=''):
  return subprocess.Popen(
      [sys.executable, *map(str, arguments)], cwd=ROOT, text=True,
      env={**os.environ, 'BROKEN': str(broken)},
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def check_ended(process):
  """Checks that a broken simulator has ended a run; returns the lines."""
  _, stderr = process.communicate(timeout=200)
  assert process.returncode == 2, stderr
  assert 'Traceback' not in stderr
  *lines, last = stderr.splitlines()
  warnings = [line for line in lines if 'warning: gym_' in line]
  assert len(warnings) == 2
  assert 'failed: ValueError: reward is None: must be finite; ' in warnings[0]
  assert re.fullmatch(
      r'error: gym_tests.test_restarts:Broken-v0 \(seed \d+\): the worker '
      'failed, the last of 3 failures without a complete episode; repair it '
      'and run the same command again: ValueError: reward is None: must be '
      'finite', last)


def run_with_a_kill(arguments, begun):
  """Kills a simulator once `begun()`; returns the warnings of the run."""
  process = start(arguments)
  while not begun():
    assert process.poll() is None, process.communicate()
    time.sleep(0.02)
  os.kill(fault_runs.simulators(process.pid)[0], signal.SIGKILL)
  _, stderr = process.communicate(timeout=200)
  assert process.returncode == 0, stderr
  return [line for line in stderr.splitlines() if 'warning' in line]


def test_training_reaches_its_planned_steps(tmp_path):
  metrics = tmp_path / 'metrics.jsonl'
  warnings = run_with_a_kill(
      ['train.py', '--configs', 'dreamerv2', 'debug', '--task', 'dummy_2',
       '--logdir', tmp_path, '--pretrain', 0, '--train_every', 10,
       '--schedule.source_pretrain', 1, '--schedule.source_steps', 100],
      lambda: metrics.exists() and '"phase": "source"' in metrics.read_text())
  warning, = warnings
  assert 'dummy_2 (seed ' in warning and 'exit status -9' in warning
  last = logger.read_metrics(metrics)[-1]
  assert last['source_frames'] == 100 + 100
  assert last['source_updates'] == 100 // 10
  # What was lost was made up for.
  data = store.Store(tmp_path / 'source_episodes')
  assert [entry['rows'] for entry in data.episodes] == [26] * 8


def test_collection_reaches_its_planned_frames(tmp_path):
  warning, = run_with_a_kill(
      [*COLLECT, 'dummy_2', '--steps', 6000, '--out', tmp_path],
      lambda: (tmp_path / store.INDEX).exists() and len(
          store.Store(tmp_path).episodes) > 2)
  assert 'dummy_2 (seed ' in warning and 'exit status -9' in warning
  data = store.Store(tmp_path)
  found = [episodes.checked(data.read(entry)) for entry in data.episodes]
  assert {len(episode['reward']) for episode in found} == {101}
  metadata = episodes.read_metadata(tmp_path)
  assert metadata['complete'] and metadata['episodes'] == len(found)
  assert metadata['frames'] == 100 * len(found) >= 6000


def test_evaluation_is_what_it_is_without_accidents():
  made = []

  def make_env(seed):
    made.append(worker.RestartingWorker('dummy_2', seed=seed, time_limit=5))
    return made[-1]

  def evaluate(accidents):
    def policy(obs, calls):
      if calls in accidents:
        os.kill(made[-2]._worker._process.pid, signal.SIGKILL)
      return {'action': np.full((2, 2), 0.1, 'f4')}, (calls or 0) + 1
    return evaluation.evaluate(make_env, lambda space: policy, 5, 2, 0)

  expected, result = evaluate([]), evaluate([None, 7])
  assert made[-2]._restarts == 2
  assert result['lengths'] == [5] * 5 and len(set(result['returns'])) == 5
  assert result['returns'] == expected['returns']


def test_environment_that_always_fails_ends_the_collection(tmp_path):
  command = [
      *COLLECT, 'gym_tests.test_restarts:Broken-v0', '--steps', 50, '--envs',
      1, '--out', tmp_path]
  check_ended(start(command, broken=tmp_path))
  assert not store.Store(tmp_path).episodes
  process = start(command)
  _, stderr = process.communicate(timeout=60)
  assert process.returncode == 0, stderr
  data = store.Store(tmp_path)
  assert [entry['rows'] for entry in data.episodes] == [26] * 2


def test_training_goes_on_when_its_environment_is_repaired(tmp_path):
  # Lines wait for an evaluation that is beside; without, the first is written
  # before the first episode that a checkpoint may not have.
  command = [
      'train.py', '--configs', 'dreamerv2', 'debug', '--task',
      'gym_tests.test_restarts:Broken-v0', '--logdir', tmp_path, '--pretrain',
      0, '--train_every', 10, '--schedule.prefill', 25,
      '--schedule.source_pretrain', 1, '--schedule.source_steps', 50,
      '--overlap', 'none']
  check_ended(start(command, broken=tmp_path / 'metrics.jsonl'))
  before = store.Store(tmp_path / 'source_episodes').episodes
  assert before
  process = start(command)
  _, stderr = process.communicate(timeout=200)
  assert process.returncode == 0, stderr
  data = store.Store(tmp_path / 'source_episodes')
  assert data.episodes[:len(before)] == before
  assert {entry['rows'] for entry in data.episodes} == {26}
  last = logger.read_metrics(tmp_path / 'metrics.jsonl')[-1]
  assert last['source_updates'] == 50 // 10
