"""Numbers that are not finite in real runs of the training program."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from coworld_tf import inputs, keeper, methods
from dreamerv2_base import files, flags, logger, store
from tests import training

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def dataset(tmp_path):
  directory = tmp_path / 'data'
  subprocess.run(
      [sys.executable, '-m', 'coworld_tf.datasets.collect', '--task',
       'dummy_2', '--steps', '75', '--time_limit', '25', '--quality', 'fast',
       '--out', directory], check=True, cwd=ROOT, capture_output=True)
  return directory


def arguments(dataset, logdir, *args):
  return [
      '--configs', 'dreamerv2_offline', 'debug', '--target_task', 'dummy_2',
      '--offline_dir', str(dataset), '--logdir', str(logdir),
      '--schedule.target_steps', '10', *args]


def train(dataset, logdir, *args):
  return training.run(*arguments(dataset, logdir, *args))


def trainer(dataset, logdir, *args):
  config = flags.parse(arguments(dataset, logdir, *args), ROOT / 'configs')
  return methods.build(config, logdir, inputs.open_dataset(config))


def stopped(result, *texts):
  """Checks that a run ended with one line that holds these texts."""
  assert result.returncode == 2 and 'Traceback' not in result.stderr
  (line,) = [
      x for x in result.stderr.splitlines() if x.startswith('error: ')]
  assert result.stderr.endswith(f'{line}\n')
  for text in texts:
    assert text in line


def test_poisoned_data_stop_a_run_that_goes_on_with_sound_data(
    dataset, tmp_path):
  logdir, path = tmp_path / 'run', dataset / 'shard-00000' / 'reward.bin'
  sound = path.read_bytes()
  wrong = np.frombuffer(sound, np.float32).copy()
  wrong[5::6] = np.nan
  path.write_bytes(wrong.tobytes())
  result = train(dataset, logdir)
  report = logdir / 'faults' / 'target-1.json'
  stopped(result, 'batch: reward', str(report), '--on_nan skip')
  assert json.loads(report.read_text()) == {'batch': ['reward']}
  with np.load(report.with_suffix('.npz'), allow_pickle=False) as data:
    assert np.isnan(data['batch.reward']).any()
    assert data['batch.image'].shape == (4, 8, 64, 64, 3)
  found = trainer(dataset, logdir)
  assert all(np.isfinite(x).all() for x in found.learner.variables)
  found.keeper.close()
  stopped(train(dataset, logdir), str(report))
  path.write_bytes(sound)
  assert train(dataset, logdir).returncode == 0
  records = logger.read_metrics(logdir / 'metrics.jsonl')
  assert records[-1]['target_updates'] == 3 + 2 * 2
  assert {x['target/skipped'] for x in records if 'target/skipped' in x} == {0}


def test_faulty_updates_are_skipped_if_asked(dataset, tmp_path):
  logdir, path = tmp_path / 'run', dataset / 'shard-00000' / 'reward.bin'
  wrong = np.fromfile(path, np.float32)
  wrong[5::6] = np.inf
  path.write_bytes(wrong.tobytes())
  result = train(dataset, logdir, '--on_nan', 'skip')
  assert result.returncode == 0, result.stderr
  assert 'warning: update skipped, not finite at target-7' in result.stderr
  records = logger.read_metrics(logdir / 'metrics.jsonl')
  assert [x['target/skipped'] for x in records if 'target/skipped' in x] == (
      [1.0] * 7)
  assert records[-1]['target_updates'] == 7


def test_poisoned_checkpoint_stops_at_the_start(
    dataset, tmp_path, monkeypatch):
  logdir = tmp_path / 'run'
  start = trainer(dataset, logdir)
  kernel = start.target.ac.actor.trainable_variables[-1]
  kernel.assign(np.full(kernel.shape, np.nan))
  # Such a checkpoint can only be foreign.
  monkeypatch.setattr(keeper, 'check_finite', lambda prefix: None)
  start.save()
  start.keeper.close()
  result = train(dataset, logdir, '--on_nan', 'skip')
  stopped(
      result, 'not finite at start: variables: target.ac.actor.',
      str(logdir / 'faults' / 'start.json'), 'older checkpoint')


def test_other_data_are_refused_unless_forced(dataset, tmp_path):
  logdir, other = tmp_path / 'run', tmp_path / 'other'
  start = trainer(dataset, logdir)
  start.save()
  start.keeper.close()
  shutil.copytree(dataset, other)
  trainer(other, logdir).keeper.close()  # The same in another place.
  store.remove(other, {0})
  with pytest.raises(ValueError, match=f'{other} holds other episodes than'):
    trainer(other, logdir)
  trainer(other, logdir, '--resume', 'force').keeper.close()


@pytest.mark.parametrize('position', [5, {'block': 'x'}])
def test_checkpoint_of_a_stranger(dataset, tmp_path, position):
  logdir = tmp_path / 'run'
  start = trainer(dataset, logdir)
  start.save()
  start.keeper.close()
  path, = (logdir / 'checkpoints').glob('ckpt-*')
  facts = files.read_json(path / 'checkpoint.json')
  (path / 'checkpoint.json').write_text(
      json.dumps({**facts, 'position': position}))
  files.write_checksums(path)
  with pytest.raises(ValueError, match='does not say where the run stands'):
    trainer(dataset, logdir)
