import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from coworld_tf import inputs
from coworld_tf.datasets import collect
from dreamerv2_base import config, episodes, store

ROOT = pathlib.Path(__file__).parents[2]


def command(out, *, task='dummy_2', steps=600, **flags):
  flags = {'task': task, 'steps': steps, 'out': out, 'size': 16,
           'action_repeat': 2, **flags}
  parts = [part for k, v in flags.items() for part in (f'--{k}', str(v))]
  return [sys.executable, '-m', 'coworld_tf.datasets.collect', *parts]


def run(*args, **flags):
  return subprocess.run(
      command(*args, **flags), cwd=ROOT, capture_output=True, text=True,
      timeout=120)


def load(out):
  data = store.Store(out)
  return [data.read(entry) for entry in data.episodes]


def fails(result, words):
  assert result.returncode == 2
  assert result.stdout == ''
  assert result.stderr.startswith('error: ')
  assert result.stderr.count('\n') == 1
  assert words in result.stderr


def snapshot(out):
  return {
      path: path.read_bytes() for path in out.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  out = tmp_path_factory.mktemp('collect') / 'new' / 'dataset'
  result = run(out)
  assert result.returncode == 0, result.stderr
  assert result.stderr == ''
  assert '6 episodes, 600 frames, return' in result.stdout
  return out


def test_whole_episodes_until_the_frames_are_there(dataset):
  found = load(dataset)
  # Episodes last 100 frames, 50 agent steps of 2.
  assert [len(ep['reward']) for ep in found] == [51] * 6
  for episode in found:
    assert episode['image'].shape == (51, 16, 16, 3)
    assert episode['is_last'].tolist() == [False] * 50 + [True]
    assert not episode['is_terminal'].any()
    assert not episode['action'][0].any() and episode['action'][1:].all()
  values = np.concatenate([ep['action'][1:].ravel() for ep in found])
  assert abs(values.mean()) < 0.1 and values.min() < -0.9 < 0.9 < values.max()


def test_metadata(dataset):
  metadata = episodes.read_metadata(dataset)
  returns = [episodes.episode_return(ep) for ep in load(dataset)]
  versions = metadata.pop('versions')
  assert {'dm_control', 'metaworld', 'mujoco', 'robodesk', 'python'} < set(
      versions)
  assert versions['numpy'] == np.__version__
  assert metadata == {
      'task': 'dummy_2', 'policy': 'random', 'requested_frames': 600,
      'seed': 0, 'quality': 'exact', 'action_repeat': 2, 'time_limit': 0,
      'size': 16, 'camera': '', 'fix_rewards': False, 'envs': 2,
      'episodes': 6, 'frames': 600, 'steps': 300, 'complete': True,
      'returns': episodes.return_statistics(returns)}


def test_defaults_are_those_of_training():
  flags = vars(collect.parse_arguments(
      ['--task', 'dummy_2', '--steps', '1', '--out', 'x']))
  defaults = config.load(ROOT / 'configs' / 'defaults.yaml')
  for key in (*inputs.SETTINGS, 'seed'):
    assert flags[key] == defaults[key], key


def test_progress_without_a_terminal(tmp_path):
  code = (
      'import sys; from coworld_tf.datasets import collect; '
      'from dreamerv2_base import progress; progress.INTERVAL = 0; '
      'sys.exit(collect.main(sys.argv[1:]))')
  arguments = command(tmp_path, steps=150)[3:]
  result = subprocess.run(
      [sys.executable, '-c', code, *arguments], cwd=ROOT,
      capture_output=True, text=True, timeout=120)
  assert result.returncode == 0, result.stderr
  lines = result.stderr.splitlines()
  assert lines[0].startswith('collect: 4/150 frames')
  assert lines[-1].startswith('collect: 150/150 frames')


def test_same_command_makes_the_same_episodes(dataset, tmp_path):
  run(tmp_path / 'same')
  run(tmp_path / 'other', seed=1)
  first = load(dataset)
  for one, same in zip(first, load(tmp_path / 'same'), strict=True):
    for key, value in one.items():
      np.testing.assert_array_equal(value, same[key])
  rewards = lambda found: {ep['reward'].tobytes() for ep in found}
  assert len(rewards(first)) == 6
  assert not rewards(first) & rewards(load(tmp_path / 'other'))


def test_complete_dataset_is_left_alone(dataset):
  before = snapshot(dataset)
  result = run(dataset)
  assert result.returncode == 0, result.stderr
  assert 'already complete' in result.stdout
  assert snapshot(dataset) == before


def test_continues_after_a_kill(tmp_path):
  process = subprocess.Popen(command(tmp_path, steps=6000), cwd=ROOT)
  while not (tmp_path / 'metadata.json').exists() or not load(tmp_path)[2:]:
    assert process.poll() is None
    time.sleep(0.01)
  process.send_signal(signal.SIGSTOP)
  fails(run(tmp_path, steps=6000), 'another process is writing there')
  process.kill()
  process.wait()
  before = load(tmp_path)
  metadata = episodes.read_metadata(tmp_path)
  assert not metadata['complete'] and metadata['episodes'] == 0
  result = run(tmp_path, steps=6000)
  assert result.returncode == 0, result.stderr
  found = load(tmp_path)
  for old, new in zip(before, found):
    for key, rows in old.items():
      np.testing.assert_array_equal(new[key], rows)
  metadata = episodes.read_metadata(tmp_path)
  assert metadata['complete'] and metadata['frames'] >= 6000
  assert metadata['episodes'] == len(found) > len(before)
  # The continuation does not repeat what was there.
  for key in ('reward', 'action'):
    assert len({ep[key].tobytes() for ep in found}) == len(found)


def test_other_settings_are_refused(dataset):
  before = snapshot(dataset)
  fails(run(dataset, quality='fast', steps=700), 'another dataset')
  result = run(dataset, quality='fast')
  fails(result, 'quality is exact there and fast here')
  assert snapshot(dataset) == before


def test_foreign_directories_are_refused(dataset, tmp_path):
  (tmp_path / 'notes.txt').write_text('mine')
  fails(run(tmp_path), 'is not empty and has no metadata.json')
  fails(run(tmp_path / 'notes.txt'), 'notes.txt')
  (tmp_path / 'metadata.json').write_text('{')
  fails(run(tmp_path), 'not valid JSON')
  episodes.write_metadata(tmp_path, episodes.read_metadata(dataset))
  fails(run(tmp_path), 'marked complete with 6 episodes but has 0')
  metadata = {**episodes.read_metadata(dataset), 'complete': False}
  episodes.write_metadata(tmp_path, metadata)
  (tmp_path / 'index.jsonl').write_text('{}\n')
  fails(run(tmp_path), 'index.jsonl: line 1 is damaged: format is None')
  assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize('flags, words', [
    ({'task': 'dmc_walker_downhil'}, 'dmc_walker_downhill'),
    ({'steps': 0}, '--steps is 0'), ({'envs': 0}, '--envs is 0'),
    ({'seed': -1}, '--seed is -1'), ({'action_repeat': 0}, 'action_repeat'),
    ({'size': 0}, 'size')])
def test_wrong_input_leaves_nothing_behind(tmp_path, flags, words):
  fails(run(tmp_path / 'out', **flags), words)
  assert not list(tmp_path.iterdir())


def test_tensorflow_is_not_imported():
  code = (
      'import sys, coworld_tf.datasets.collect, dreamerv2_base.replay; '
      'sys.exit("tensorflow" in sys.modules)')
  assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0
