"""Programs whose simulators are lost while they run."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np

from dreamerv2_base import episodes, logger, store
from envs import evaluation, worker

ROOT = pathlib.Path(__file__).resolve().parents[1]
COLLECT = '-m', 'coworld_tf.datasets.collect', '--size', '16', '--task'


class Broken(gymnasium.Env):
  """Fails at the second step of each episode."""

  action_space = gymnasium.spaces.Discrete(2)
  observation_space = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._steps = 0
    return self.observation_space.sample(), {}

  def step(self, action):
    self._steps += 1
    if self._steps == 2:
      raise RuntimeError('the physics exploded')
    return self.observation_space.sample(), 0.0, False, False, {}


gymnasium.register('Broken-v0', Broken)


def start(arguments):
  return subprocess.Popen(
      [sys.executable, *map(str, arguments)], cwd=ROOT, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run_with_a_kill(arguments, begun):
  """Kills a simulator once `begun()`; returns the warnings of the run."""
  process = start(arguments)
  while not begun():
    assert process.poll() is None, process.communicate()
    time.sleep(0.02)
  os.kill(simulators(process.pid)[0], signal.SIGKILL)
  _, stderr = process.communicate(timeout=200)
  assert process.returncode == 0, stderr
  return [line for line in stderr.splitlines() if 'warning' in line]


def simulators(parent):
  """Process ids of the simulators of a run."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*'):
    with contextlib.suppress(OSError):
      status = (path / 'stat').read_text().rpartition(')')[2].split()
      if int(status[1]) == parent and (
          b'envs.worker' in (path / 'cmdline').read_bytes()):
        found.append(int(path.name))
  return found


def test_training_reaches_its_planned_steps(tmp_path):
  metrics = tmp_path / 'metrics.jsonl'
  warnings = run_with_a_kill(
      ['train.py', '--configs', 'dreamerv2', 'debug', '--task', 'dummy_2',
       '--logdir', tmp_path, '--pretrain', 0, '--schedule.source_pretrain', 1,
       '--schedule.source_steps', 100],
      lambda: metrics.exists() and '"phase": "source"' in metrics.read_text())
  warning, = warnings
  assert 'dummy_2 (seed ' in warning and 'exit status -9' in warning
  last = logger.read_metrics(metrics)[-1]
  assert last['source_frames'] == 100 + 100
  assert last['source_updates'] == 100 // 5
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


def test_evaluation_runs_all_its_episodes():
  made = []

  def make_env(seed):
    made.append(worker.RestartingWorker('dummy_2', seed=seed, time_limit=5))
    return made[-1]

  def fatal(obs, calls):
    if calls in (None, 7):  # Once in each of the first two episodes.
      os.kill(made[0]._worker._process.pid, signal.SIGKILL)
    return {'action': np.zeros((2, 2), 'f4')}, (calls or 0) + 1

  result = evaluation.evaluate(make_env, lambda space: fatal, 5, 2, 0)
  assert result['lengths'] == [5] * 5 and len(result['returns']) == 5
  assert made[0]._restarts == 2


def test_environment_that_always_fails_ends_the_run(tmp_path):
  process = start([
      *COLLECT, 'gym_tests.test_restarts:Broken-v0', '--steps', 10, '--envs',
      1, '--out', tmp_path])
  _, stderr = process.communicate(timeout=60)
  assert process.returncode == 1
  lines = stderr.splitlines()
  assert sum('warning: gym_' in line for line in lines) == 2
  assert 'failed: RuntimeError: the physics exploded; going' in lines[0]
  assert 'failed, the last of 3 failures without a complete' in stderr
  assert lines[-1] == 'RuntimeError: the physics exploded'
  assert not store.Store(tmp_path).episodes
