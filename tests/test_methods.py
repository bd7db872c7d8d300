"""What is built from a configuration, and that the parts fit together."""

import json
import pathlib
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from coworld_tf import inputs, methods
from dreamerv2_base import flags, logger, replay

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOTS = 'gym_tests.envs.dots:Seen-v0'


def collect(task, directory):
  subprocess.run(
      [sys.executable, '-m', 'coworld_tf.datasets.collect', '--task', task,
       '--steps', '75', '--time_limit', '25', '--quality', 'fast', '--out',
       str(directory)], check=True, cwd=ROOT, capture_output=True)
  return directory


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return collect('dummy_2', tmp_path_factory.mktemp('data') / 'dummy')


def build(dataset, logdir, *args):
  """A trainer in this process that is done after one target update."""
  config = flags.parse([
      '--configs', 'coworld', 'debug', '--offline_dir', str(dataset),
      '--log_every', '1000', '--schedule.prefill', '25',
      '--schedule.source_pretrain', '0', '--schedule.warmup', '0',
      '--schedule.rounds', '1', '--schedule.target_steps', '5',
      '--evaluation.final_episodes', '1', *args], ROOT / 'configs')
  return methods.build(config, logdir, inputs.open_dataset(config))


TASKS = ('--source_task', 'dummy_2', '--target_task', 'dummy_2')


def test_target_may_start_from_the_source(dataset, tmp_path):
  trainer = build(
      dataset, tmp_path, *TASKS, '--coworld.target_init', 'from_source',
      '--model_opt.lr', '0')
  models = [x.wm.opt.targets for x in (trainer.learner.source, trainer.target)]
  equal = lambda: all(np.array_equal(*pair) for pair in zip(*models))
  assert not equal()
  trainer.run()
  assert int(trainer.target.updates) == 1 and equal()
  # Fewer updates than log_every are still logged, under their own phase.
  phases = {
      record['phase']
      for record in logger.read_metrics(tmp_path / 'metrics.jsonl')
      if 'target/image_loss' in record}
  assert phases == {'target'}


def test_dataset_must_fit_the_simulator_of_the_target(dataset, tmp_path):
  for task, words in {
      'dummy_3': 'actions have size 2, those of target_task 3',
      DOTS: 'actions have size 2, those of target_task 3'}.items():
    with pytest.raises(ValueError, match=words):
      build(
          dataset, tmp_path, '--source_task', 'dummy_2', '--target_task',
          task, '--allow_mismatch', 'True')


def test_pair_with_choices(tmp_path):
  data = collect(DOTS, tmp_path / 'data')
  args = '--target_task', DOTS, '--source_task'
  build(data, tmp_path / 'run', *args, DOTS).run()
  lines = (tmp_path / 'run' / 'evaluations.jsonl').read_text().splitlines()
  evaluations = [json.loads(line) for line in lines]
  assert {record['policy'] for record in evaluations} == {'random', 'target'}
  for record in evaluations:
    assert len(record['successes']) == len(record['returns']) == 1
  with pytest.raises(ValueError, match='adapter: pad_max cannot map'):
    build(data, tmp_path / 'run', *args, 'dummy_3')
  build(
      data, tmp_path / 'other', *args, 'dummy_2', '--coworld.action_adapter',
      'zero').run()


@pytest.mark.parametrize('action, words', [
    ([0, 1, 0], None), ([0, 0, 0], 'one-hot'), ([0.5, 0.5, 0], 'one-hot'),
    ([0, 1], 'have size 2, those of target_task 3')])
def test_dataset_must_hold_choices(action, words, tmp_path):
  # The shortest episode: a reset and one step.
  data = replay.Replay(tmp_path, writable=True)
  data.append({
      'image': np.zeros((2, 8, 8, 3), np.uint8),
      'action': np.array([np.zeros(len(action)), action], np.float32),
      'reward': np.zeros(2, np.float32),
      'is_first': np.array([True, False]),
      'is_last': np.array([False, True]), 'is_terminal': np.zeros(2, bool)})
  images = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
  check = lambda: methods.check_dataset(
      data, images, gymnasium.spaces.Discrete(3))
  if words:
    with pytest.raises(ValueError, match=words):
      check()
  else:
    check()
