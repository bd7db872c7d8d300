"""The training program as a user runs it: real processes, files and steps."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dreamerv2_base import config as configs
from dreamerv2_base import store
from tests import training

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOTS = 'gym_tests.envs.dots:Seen-v0'
PHASES = [
    'evaluate_random', 'evaluate_source', 'source', 'target_model',
    'evaluate_source', 'source_aligned', 'evaluate_target', 'target',
    'evaluate_source', 'source_aligned', 'evaluate_target', 'target',
    'evaluate_final']


def command(*args):
  return [sys.executable, str(ROOT / 'train.py'), *map(str, args)]


def run(*args, **variables):
  return subprocess.run(
      command(*args), capture_output=True, text=True, timeout=280,
      env={**os.environ, **variables})


def collect(task, directory):
  subprocess.run(
      [sys.executable, '-m', 'coworld_tf.datasets.collect', '--task', task,
       '--policy', 'random', '--steps', '300', '--time_limit', '25',
       '--action_repeat', '1', '--quality', 'fast', '--out',
       str(directory)], check=True, cwd=ROOT, capture_output=True)


def wait_for(text, path, process):
  deadline = time.time() + 200
  while not path.exists() or text not in path.read_text():
    assert process.poll() is None, process.communicate()
    assert time.time() < deadline
    time.sleep(0.1)


def records(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  directory = tmp_path_factory.mktemp('data') / 'dummy'
  collect('dummy_2', directory)
  return directory


@pytest.fixture(scope='module')
def trained(dataset, tmp_path_factory):
  """A run of all phases that was killed in the middle and started again."""
  logdir = tmp_path_factory.mktemp('run') / 'coworld'
  # Three source and two target actions, so that the adapter is at work.
  args = command(
      '--configs', 'coworld', 'debug', '--source_task', 'dummy_3',
      '--target_task', 'dummy_2', '--offline_dir', dataset, '--logdir',
      logdir, '--checkpoint_every', 1, '--train_every', 10)
  process = subprocess.Popen(
      args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  wait_for('"source_aligned"', logdir / 'metrics.jsonl', process)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  result = subprocess.run(args, capture_output=True, text=True, timeout=280)
  return logdir, result


def test_killed_run_finishes(trained):
  _, result = trained
  assert result.returncode == 0, result.stderr
  assert 'continuing at block' in result.stderr
  assert ' % update, ' in result.stderr
  assert 'Traceback' not in result.stderr
  for name in ('random', 'dataset', 'target'):
    assert f'\n{name} ' in result.stdout


def test_quiet(trained):
  _, result = trained
  for noise in ('oneDNN', 'absl', 'cuda', 'WARNING', 'Gym', 'Deprecat'):
    assert noise not in result.stderr + result.stdout


def test_phases_in_order(trained):
  logdir, _ = trained
  phases = [record['phase'] for record in records(logdir / 'metrics.jsonl')]
  runs = [
      phase for last, phase in zip(['', *phases], phases) if phase != last]
  assert runs == PHASES


def test_each_update_is_logged_once(trained):
  logdir, _ = trained
  steps = [
      record['step'] for record in records(logdir / 'metrics.jsonl')
      if not record['phase'].startswith('evaluate')]
  assert steps == list(range(1, steps[-1] + 1))
  last = records(logdir / 'metrics.jsonl')[-1]
  # 1 at the start, 60 frames in blocks of 10, 3 for the model, 60 / 10 each.
  assert last['source_updates'] == 1 + 3 * 6
  assert last['target_updates'] == 3 + 2 * 6


def test_stages_are_logged(trained):
  logdir, _ = trained
  names = set().union(*records(logdir / 'metrics.jsonl'))
  assert names >= {
      'target/align_kl', 'target/constraint_active', 'target/peer_critic',
      'target/critic', 'source/critic', 'source/eta', 'source/relabel_error',
      'target/image_loss', 'source/image_loss', 'samples_seen'}
  etas = [
      record['source/eta'] for record in records(logdir / 'metrics.jsonl')
      if 'source/eta' in record]
  assert etas == sorted(etas, reverse=True) and etas[0] > etas[-1]
  assert etas[-1] == pytest.approx(0.1)


def test_what_is_left_on_disk(trained):
  logdir, _ = trained
  summary = json.loads((logdir / 'summary.json').read_text())
  assert list(summary['returns']) == ['random', 'dataset', 'target']
  assert summary['returns']['dataset']['episodes'] == 12
  assert summary['returns']['target']['episodes'] == 2
  for name in ('curves.png', 'returns.png', 'config.yaml'):
    assert (logdir / name).stat().st_size > 0
  videos = {path.name.split('-')[0] for path in logdir.glob('videos/*.gif')}
  assert videos == {
      'random_episode', 'source_episode', 'source_prediction',
      'target_episode', 'target_prediction'}
  assert list(logdir.glob('events.out.tfevents.*'))


def test_finished_run_is_not_repeated_wherever_it_is(
    trained, dataset, tmp_path):
  logdir, _ = trained
  moved = tmp_path / 'moved'
  shutil.copytree(logdir, moved)
  shutil.copytree(dataset, tmp_path / 'data')
  before = (logdir / 'metrics.jsonl').read_text()
  result = training.run(
      '--configs', 'coworld', 'debug', '--source_task', 'dummy_3',
      '--target_task', 'dummy_2', '--offline_dir', tmp_path / 'data',
      '--logdir', moved, '--train_every', 10, '--precision', 'auto')
  assert result.returncode == 0, result.stderr
  # Whatever this machine is best at.
  assert configs.load(moved / 'config.yaml')['precision'] == '32'
  assert 'this run is finished' in result.stderr
  assert (moved / 'metrics.jsonl').read_text() == before


def test_other_config_is_refused(trained, dataset):
  logdir, _ = trained
  refused(
      ['--configs', 'coworld', 'debug', '--source_task', 'dummy_3',
       '--target_task', 'dummy_2', '--offline_dir', dataset, '--logdir',
       logdir, '--train_every', 10, '--seed', 1],
      ['seed', 'choose another --logdir'])


def test_online_agent_on_a_real_simulator(tmp_path):
  result = training.run(
      '--configs', 'dmc', 'dreamerv2', 'debug', '--task',
      'dmc_cartpole_balance', '--logdir', tmp_path / 'run', '--pretrain', 0,
      '--schedule.source_steps', 20)
  assert result.returncode == 0, result.stderr
  summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  assert summary['method'] == 'dreamerv2'
  assert summary['returns']['source']['mean'] > 0
  assert summary['source_frames'] == 100 + 20
  assert summary['source_updates'] == 2


def test_choices_and_success(tmp_path):
  result = training.run(
      '--configs', 'dreamerv2', 'small', 'debug', '--task', DOTS, '--logdir',
      tmp_path, '--schedule.source_pretrain', 1, '--schedule.source_steps',
      20, '--time_limit', 0, '--evaluation.final_episodes', 3)
  assert result.returncode == 0, result.stderr
  data = store.Store(tmp_path / 'source_episodes')
  for entry in data.episodes:
    action = data.read(entry)['action']
    assert action.shape[1] == 3 and not action[0].any()
    assert (np.sort(action[1:], -1) == [0, 0, 1]).all()
  last = records(tmp_path / 'evaluations.jsonl')[-1]
  # This environment pays for success.
  assert last['successes'] == [value > 0 for value in last['returns']]
  share = np.mean(last['successes'])
  summary = json.loads((tmp_path / 'summary.json').read_text())
  assert summary['returns']['source']['success'] == share
  assert records(tmp_path / 'metrics.jsonl')[-1]['source/success'] == (
      pytest.approx(share))
  assert result.stdout.splitlines()[2].endswith(f'{share:.0%}')
  assert f', {share:.0%} successful\n' in result.stderr


def test_interrupt_leaves_one_line_and_no_process(dataset, tmp_path):
  process = subprocess.Popen(
      command(
          '--configs', 'coworld', 'debug', '--source_task', 'dummy_2',
          '--target_task', 'dummy_2', '--offline_dir', dataset, '--logdir',
          tmp_path / 'run', '--schedule.model_updates', 1000),
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      start_new_session=True,
      # Background jobs ignore interrupts, and their children inherit that.
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
  wait_for('"target_model"', tmp_path / 'run' / 'metrics.jsonl', process)
  os.killpg(process.pid, signal.SIGINT)  # As a terminal does.
  _, stderr = process.communicate(timeout=60)
  assert process.returncode == 130, stderr
  assert stderr.endswith('\nstopped; the same command continues\n')
  assert 'Traceback' not in stderr and 'Exception' not in stderr
  with pytest.raises(ProcessLookupError):
    os.killpg(process.pid, 0)


def test_refused_command_can_be_corrected(dataset, tmp_path):
  refused(
      ['--configs', 'coworld', 'debug', '--source_task', 'dummy_3',
       '--target_task', 'dummy_2', '--offline_dir', dataset, '--logdir',
       tmp_path / 'run', '--coworld.target_init', 'from_source'],
      ['coworld.target_init: from_source', 'action sizes'])
  assert not (tmp_path / 'run').exists()


def test_simulator_that_does_not_render_is_one_line(tmp_path):
  refused(
      ['--configs', 'dmc', 'dreamerv2', 'debug', '--logdir', tmp_path],
      ['dmc_walker_walk (seed 0): the worker failed: ', 'MUJOCO_GL'],
      MUJOCO_GL='wgl')


def refused(args, texts, **variables):
  result = run(*args, **variables)
  assert result.returncode == 2
  assert result.stdout == ''
  (line,) = result.stderr.splitlines()
  assert line.startswith('error: ')
  for text in texts:
    assert text in line


@pytest.mark.parametrize('args, texts', [
    ('--target_task dmc_walker_downhil', ["'dmc_walker_downhill'"]),
    ('--coworld.alfa 2', ["'--coworld.alpha'"]),
    ('--batch x', ["'--dataset.batch'"]),
    ('--dataset.batch x', ['dataset.batch', "'x'"]),
    ('--offline_dir DIR/missing --logdir DIR/log', ['DIR/missing']),
    ('--offline_dir DIR/empty --logdir DIR/log', ['DIR/empty', 'no ep']),
    ('--offline_dir DIR/truncated --logdir DIR/log', ['image.bin: truncated']),
    ('--offline_dir DIR/dummy --logdir DIR/log', ["task 'dummy_2'"]),
    ('--logdir DIR/log', ['offline_dir']),
    ('--offline_dir DIR/truncated', ['logdir']),
    ('--precision 8', ['precision', 'bfloat16']),
    ('--offline_dir DIR/empty --logdir DIR/log --eta.mode const', ['eta.mo']),
])
def test_bad_input(args, texts, dataset, tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'truncated').mkdir()
  os.symlink(dataset, tmp_path / 'dummy')
  shutil.copytree(dataset, tmp_path / 'truncated', dirs_exist_ok=True)
  (tmp_path / 'truncated' / 'metadata.json').unlink()
  os.truncate(tmp_path / 'truncated' / 'shard-00000' / 'image.bin', 999)
  fill = lambda text: text.replace('DIR', str(tmp_path))
  refused(
      ['--configs', 'dmc', 'coworld', '--dataset.length', '20',
       *fill(args).split()], map(fill, texts))
  assert not (tmp_path / 'log').exists()


def test_episodes_that_are_all_too_short_are_one_line(tmp_path):
  result = training.run(
      '--configs', 'dreamerv2', 'small', 'debug', '--task', DOTS, '--logdir',
      tmp_path, '--time_limit', 0, '--dataset.length', 50)
  assert result.returncode == 2 and 'Traceback' not in result.stderr
  assert 'no episode of 50 rows' in result.stderr.splitlines()[-1]
