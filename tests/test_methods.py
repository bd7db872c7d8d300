"""What is built from a configuration, and that the parts fit together."""

import json
import pathlib
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from coworld_tf import inputs, methods, report
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


# One update of the target.
LEAST = {
    '--log_every': '1000', '--schedule.prefill': '25',
    '--schedule.source_pretrain': '0', '--schedule.warmup': '0',
    '--schedule.rounds': '1', '--schedule.target_steps': '5',
    '--evaluation.final_episodes': '1'}


def build(dataset, logdir, *args):
  """A trainer in this process that is done after one target update."""
  least = [text for flag, value in LEAST.items() if flag not in args
           for text in (flag, value)]
  config = flags.parse([
      '--configs', 'coworld', 'debug', '--offline_dir', str(dataset), *least,
      *args], ROOT / 'configs')
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


SHORT = (
    '--schedule.source_pretrain', '1', '--schedule.warmup', '1',
    '--schedule.source_steps', '5', '--schedule.model_updates', '1',
    '--schedule.target_steps', '10', '--evaluation.target_episodes', '1',
    '--ewc.sequences', '3', '--multi_source.batches', '2', '--log_every', '1',
    '--rssm.ensemble', '2')
# Updates of source and target, the hand-over counted as none.
UPDATES = {
    'dreamerv2_offline': ([], 3), 'offline_dv2': ([], 3),
    'dv2_finetune': ([3], 2)}


@pytest.mark.parametrize('method', UPDATES)
def test_method_runs_through_its_schedule(dataset, tmp_path, method):
  # The source has one action more than the target.
  trainer = build(
      dataset, tmp_path, '--source_task', 'dummy_3', '--target_task',
      'dummy_2', '--method', method, *SHORT)
  trainer.run()
  sources, target = UPDATES[method]
  assert [int(x.updates) for x in trainer.learner.sources] == sources
  assert int(trainer.target.updates) == target
  records = logger.read_metrics(tmp_path / 'metrics.jsonl')
  losses = [value for record in records for key, value in record.items()
            if key.endswith('_loss')]
  assert losses and np.isfinite(losses).all()


def test_hand_over_goes_on_where_it_stopped(dataset, tmp_path):
  make = lambda: build(
      dataset, tmp_path, *TASKS, '--method', 'dv2_finetune_ewc', *SHORT)
  trainer = make()
  count = [block.phase for block in trainer.blocks].index('hand_over')
  trainer.learner.consolidate = None
  with pytest.raises(TypeError):
    trainer.run()
  assert int(trainer.block) == count
  trainer = make()
  assert int(trainer.block) == count and int(trainer.learner.count) == 0
  trainer.run()
  assert int(trainer.learner.count) == 3 and trainer.target.updates == 2
  record, = [
      x for x in logger.read_metrics(tmp_path / 'metrics.jsonl')
      if 'target/fisher_actor' in x]
  assert record['phase'] == 'hand_over' and record['target/fisher_encoder'] > 0
  source, target = trainer.learner.sources[0], trainer.target
  assert int(target.ac.updates) == int(source.ac.updates) + 2
  # Schedules go on: an update stands for five agent steps.
  assert int(target.step) == int(source.step) + 10
  again = make()
  for ours, restored in zip(
      trainer.learner.variables, again.learner.variables, strict=True):
    np.testing.assert_array_equal(ours, restored)


def test_several_sources(dataset, tmp_path):
  tasks = 'dummy_3', DOTS
  trainer = build(
      dataset, tmp_path, '--method', 'multi_source', '--target_task',
      'dummy_2', '--multi_source.candidates', *tasks,
      '--coworld.action_adapter', 'zero', *SHORT)
  trainer.run()
  selected = int(trainer.learner.selected)
  updates = [int(agent.updates) for agent in trainer.learner.sources]
  assert updates[selected] == 3 and updates[1 - selected] == 2
  assert int(trainer.target.updates) == 4
  assert trainer.learner.choices.numpy().sum() == 2
  summary = report.finish(
      trainer.config, tmp_path, trainer.learner, trainer.target_replay,
      trainer.counts())
  assert summary['sources']['selected'] == tasks[selected]
  assert set(summary['sources']['distances']) == set(tasks)
  for index in range(2):
    assert (tmp_path / f'source_episodes_{index}' / 'index.jsonl').exists()


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
