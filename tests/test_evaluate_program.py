"""The program that evaluates a run, with real runs of train.py."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import checkpoints, evaluate, inputs
from coworld_tf.datasets import collect
from tests import training

ROOT = pathlib.Path(__file__).resolve().parents[1]


def train(logdir, dataset, *argv):
  training.run(
      '--configs', *argv, '--target_task', 'dummy_2', '--offline_dir', dataset,
      '--logdir', logdir, '--schedule.prefill', '30',
      '--schedule.source_steps', '10', '--schedule.target_steps',
      '10').check_returncode()


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'dummy'
  assert collect.main([
      '--task', 'dummy_2', '--steps', '100', '--time_limit', '25',
      '--quality', 'fast', '--out', str(path)]) == 0
  return path


@pytest.fixture(scope='module')
def padded(dataset, tmp_path_factory):
  """A run whose agent has three actions for a target with two."""
  logdir = tmp_path_factory.mktemp('runs') / 'padded'
  train(logdir, dataset, 'dv2_finetune', 'debug', '--source_task', 'dummy_3')
  return logdir


@pytest.fixture
def copy(padded, tmp_path):
  return shutil.copytree(
      padded, tmp_path / 'run', ignore=shutil.ignore_patterns('evaluation'))


def run(*argv):
  return evaluate.main([str(word) for word in argv])


def read(directory):
  return json.loads((directory / 'evaluation.json').read_text())


def fails(capsys, words, *argv):
  capsys.readouterr()
  with pytest.raises(SystemExit) as info:
    run(*argv)
  output = capsys.readouterr()
  assert info.value.code == 2 and output.out == ''
  assert output.err.startswith('error: ') and output.err.count('\n') == 1
  assert words in output.err


def test_file(padded, capsys):
  assert run('--logdir', padded, '--episodes', 3, '--videos', 2) == 0
  out = padded / 'evaluation'
  facts = read(out)
  assert len(facts['returns']) == facts['episodes'] == 3
  assert facts['lengths'] == [25] * 3 and facts['successes'] == []
  assert facts['mean'] == pytest.approx(np.mean(facts['returns']))
  assert facts['std'] == pytest.approx(np.std(facts['returns'], ddof=1))
  assert facts['stderr'] == pytest.approx(facts['std'] / 3 ** 0.5)
  assert facts['task'] == 'dummy_2' and facts['method'] == 'dv2_finetune'
  assert set(facts['settings']) == set(inputs.SETTINGS)
  assert facts['settings']['time_limit'] == 25
  assert facts['updates'] == json.loads(
      (padded / 'summary.json').read_text())['target_updates']
  assert {'tensorflow', 'commit'} < set(facts['versions'])
  assert len(list((out / 'videos').glob('*.gif'))) == 2
  assert 'not finished' not in capsys.readouterr().err


def test_same_seeds_same_episodes(padded, tmp_path):
  outs = [tmp_path / name for name in 'abc']
  for out, seed in zip(outs, (0, 0, 1), strict=True):
    run('--logdir', padded, '--episodes', 2, '--seed', seed, '--out', out,
        '--videos', 0)
  first, second, other = [read(out)['returns'] for out in outs]
  assert first == second != other
  assert not (outs[0] / 'videos').exists()


def test_restored_agent_is_the_trained_one(padded):
  config = checkpoints.read_config(padded)
  args = evaluate.parse_arguments(['--logdir', str(padded)])
  learner, make_env, path = evaluate.load(config, args)
  assert learner.action_size == 3
  with_padding = make_env(2 ** 31)
  assert with_padding.act_space['action'].shape == (3,)
  with_padding.close()
  reader = tf.train.load_checkpoint(str(path / checkpoints.VARIABLES))
  stored = [
      reader.get_tensor(key) for key in reader.get_variable_to_shape_map()
      if key.startswith('learner/target/')]
  parts = learner.ac.actor, learner.ac.critic, learner.wm.encoder
  kernels = [x for part in parts for x in part.variables if x.shape.rank > 1]
  assert len(kernels) > 6
  for kernel in kernels:
    assert any(np.array_equal(kernel.numpy(), array) for array in stored)


def test_unfinished_run_is_said_to_be(copy, capsys):
  (copy / 'summary.json').unlink()
  assert run('--logdir', copy, '--episodes', 1) == 0
  assert 'is not finished; this is update' in capsys.readouterr().err


def test_earlier_checkpoint(copy):
  paths = checkpoints.kept(copy / 'checkpoints')
  best = checkpoints.pick(copy, 'best')
  assert best in paths and checkpoints.pick(copy, 'last') == paths[-1]
  for which, path in {
      paths[0]: paths[0], paths[1].name: paths[1], 'best': best}.items():
    assert run(
        '--logdir', copy, '--episodes', 1, '--checkpoint', which) == 0
    # The score of the run is that of its last checkpoint.
    assert not (copy / 'evaluation').exists()
    name = pathlib.Path(which).name
    facts = read(copy / f'evaluation-{name}')
    assert facts['checkpoint'] == str(path)


def test_wrong_input(copy, tmp_path, capsys):
  fails(capsys, 'holds no run', '--logdir', tmp_path / 'nothing')
  fails(capsys, '--episodes is 0', '--logdir', copy, '--episodes', 0)
  kept = [path.name for path in checkpoints.kept(copy / 'checkpoints')]
  for wrong in (copy / 'checkpoints' / 'ckpt-999', 'ckpt-999', 'lats'):
    fails(capsys, f"no such checkpoint; {copy} has {', '.join(kept)}, best",
          '--logdir', copy, '--checkpoint', wrong)
  text = (copy / 'config.yaml').read_text()
  (copy / 'config.yaml').write_text(text.replace('deter: 8', 'deter: 16'))
  fails(capsys, 'is of another run', '--logdir', copy)
  (copy / 'config.yaml').write_text(text.replace('train_every', 'old_name'))
  fails(capsys, "'old_name'", '--logdir', copy)
  (copy / 'config.yaml').write_text(text)
  path = copy / 'checkpoints' / kept[-1] / 'variables.index'
  path.write_bytes(path.read_bytes() + b' ')
  fails(capsys, f'{path}: damaged', '--logdir', copy)
  shutil.rmtree(copy / 'checkpoints')
  fails(capsys, 'has no checkpoints', '--logdir', copy)
  assert not (copy / 'evaluation').exists()
