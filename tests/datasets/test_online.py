import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from coworld_tf import inputs
from coworld_tf.datasets import collect, online
from dreamerv2_base import config, episodes, flags, store
from envs import dummy

ROOT = pathlib.Path(__file__).parents[2]
BLOCK = 20
FLAGS = '--schedule.source_steps', BLOCK, '--schedule.prefill', 27


def arguments(out, agent=None, policy='medium_replay', steps=2 * BLOCK,
              rest=FLAGS, configs=('debug',), **settings):
  settings = {
      'task': 'dummy_2', 'policy': policy, 'steps': steps, 'time_limit': 9,
      'quality': 'fast', 'out': out, **settings}
  words = [word for k, v in settings.items() for word in (f'--{k}', v)]
  if agent:
    words += ['--agent_logdir', agent]
  if configs:
    words += ['--agent_configs', *configs]
  return [str(word) for word in (*words, *(('--', *rest) if rest else ()))]


def expert(out, agent, **settings):
  return arguments(out, agent, 'expert', rest=(), configs=(), **settings)


def records(agent):
  lines = (agent / 'evaluations.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def rows(directory, count=None):
  data = store.Store(directory)
  return [data.read(entry) for entry in data.episodes[:count]]


def assert_same(found, expected):
  assert len(found) == len(expected)
  for one, two in zip(found, expected):
    for key, value in two.items():
      np.testing.assert_array_equal(one[key], value)


def fails(capsys, words, argv):
  capsys.readouterr()
  with pytest.raises(SystemExit) as info:
    collect.main(argv)
  output = capsys.readouterr()
  assert info.value.code == 2 and output.out == ''
  assert output.err.startswith('error: ') and output.err.count('\n') == 1
  assert words in output.err


@pytest.fixture(scope='module')
def agent(tmp_path_factory):
  """Log directory of an agent that was killed and continued."""
  return tmp_path_factory.mktemp('online') / 'data-agent'


@pytest.fixture(scope='module')
def replay(agent):
  """A dataset up to a third of the highest return."""
  out = agent.with_name('data')
  command = [
      sys.executable, '-m', 'coworld_tf.datasets', 'collect', *arguments(out)]
  process = subprocess.Popen(
      command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE)
  metrics = agent / 'metrics.jsonl'
  while not metrics.exists() or '"phase": "source"' not in metrics.read_text():
    assert process.poll() is None, process.communicate()
    time.sleep(0.1)
  os.killpg(process.pid, signal.SIGKILL)
  process.communicate()
  assert not out.exists()
  result = subprocess.run(
      command, cwd=ROOT, capture_output=True, text=True, timeout=200)
  assert result.returncode == 0, result.stderr
  assert 'continuing at block' in result.stderr
  assert 'evaluate_final' in result.stderr
  assert f'{out}: ' in result.stdout.splitlines()[-1]
  return out


@pytest.mark.parametrize('scores, share, index', [
    ([3.0], 1 / 3, 0), ([3.0], 0.99, 0),  # Fewer than three evaluations.
    ([0.0, 6.0], 1 / 3, 1), ([1.0, 5.0], 1 / 3, 0),
    # Smoothed: 0, 0, 3, 6, 9, 9, 9.
    ([0, 0, 9, 9, 9, 9, 9], 1 / 3, 2), ([0, 0, 9, 9, 9, 9, 9], 0.99, 4),
    ([0, 0, 9, 9, 9, 9, 9], 0.3, 2), ([0, 0, 9, 9, 9, 9, 9], 0.34, 3),
    # Smoothed: 9, 4.5, 3, 0, 0; what comes later does not matter.
    ([9, 0, 0, 0, 0], 1 / 3, 0), ([9, 0, 0, 0, 0], 0.99, 0),
    # Smoothed: -3, 0, 2, 5; a lucky evaluation alone is not enough.
    ([-3, 3, 6, 6], 1 / 3, 2), ([0, 0, 0, 9, 0, 9, 9, 9], 0.99, 7)])
def test_cut(scores, share, index):
  assert online.cut(scores, share) == index


@pytest.mark.parametrize('scores', [[], [0.0, 0.0], [-5.0, -1.0]])
def test_nothing_to_cut(scores):
  with pytest.raises(ValueError, match='highest smoothed return'):
    online.cut(scores, 1 / 3)


def test_smoothing_sees_no_later_evaluation():
  assert online.smooth([3, 6, 0, 0, 9]) == [3, 4.5, 3, 2, 3]


def test_one_agent_serves_several_datasets(replay, agent, capsys):
  third = episodes.read_metadata(replay)
  out = agent.with_name('expert_replay')
  before = (agent / 'summary.json').stat().st_mtime_ns
  assert collect.main(arguments(out, agent, 'medium_expert')) == 0
  assert (agent / 'summary.json').stat().st_mtime_ns == before
  whole = episodes.read_metadata(out)
  evaluations = records(agent)
  assert [x['source_episodes'] for x in evaluations] == sorted(
      x['source_episodes'] for x in evaluations)
  for path, metadata, share in ((replay, third, 1 / 3), (out, whole, 0.99)):
    scores = [np.mean(x['returns']) for x in evaluations]
    smoothed = [np.mean(scores[max(0, i - 2):i + 1]) for i in range(3)]
    chosen = next(
        x for x, s in zip(evaluations, smoothed) if s >= share * max(smoothed))
    facts = metadata['cut']
    assert facts['s_max'] == max(smoothed)
    assert facts['threshold'] == share * max(smoothed)
    assert facts['cut_frames'] == chosen['source_frames']
    assert facts['cut_episodes'] == chosen['source_episodes']
    assert facts['learning_curve']['returns'] == scores
    assert facts['learning_curve']['smoothed'] == smoothed
    assert metadata['complete']
    assert metadata['episodes'] == facts['cut_episodes']
    assert_same(
        rows(path), rows(agent / 'source_episodes', facts['cut_episodes']))
  # Three episodes of random actions, before any training.
  assert evaluations[0]['source_frames'] == 27
  assert evaluations[0]['source_episodes'] == 3
  assert evaluations[-1]['source_frames'] == 27 + 2 * BLOCK
  assert all(len(x['returns']) == 10 for x in evaluations)


def test_metadata_lets_others_repeat_it(replay, agent):
  metadata = episodes.read_metadata(replay)
  used = config.load(agent / 'config.yaml')
  assert used.pop('logdir') == str(agent)
  assert metadata['agent'] == used
  assert used['capacity'] == 0
  assert used['schedule']['source_pretrain'] == 2
  assert metadata['agent_configs'] == ['debug']
  assert metadata['agent_flags'] == [str(x) for x in FLAGS]
  assert metadata['requested_frames'] == 2 * BLOCK
  assert {'tensorflow', 'commit'} < set(metadata['versions'])
  assert str(agent.parent) not in json.dumps(metadata)


def test_training_takes_the_dataset(replay):
  argv = ['--configs', 'debug', '--target_task', 'dummy_2', '--offline_dir',
          str(replay), '--time_limit', '9']
  data = inputs.open_dataset(flags.parse(argv, ROOT / 'configs'))
  assert data.stats['episodes'] == len(rows(replay))


def test_copy_continues(replay, agent, tmp_path, capsys):
  out = tmp_path / 'out'
  out.mkdir()
  metadata = {**episodes.read_metadata(replay), 'complete': False}
  with store.Writer(out) as data:
    data.append(rows(replay, 1)[0])
  episodes.write_metadata(out, metadata)
  assert collect.main(arguments(out, agent)) == 0
  assert_same(rows(out), rows(replay))
  assert episodes.read_metadata(out) == episodes.read_metadata(replay)
  collect.main(arguments(out, agent))
  assert 'already complete' in capsys.readouterr().out


def test_episodes_of_another_agent_are_refused(
    replay, agent, tmp_path, capsys):
  metadata = {**episodes.read_metadata(replay), 'complete': False}
  with store.Writer(tmp_path) as data:
    data.append(rows(replay, 2)[1])
  episodes.write_metadata(tmp_path, metadata)
  fails(capsys, 'are not the first of', arguments(tmp_path, agent))
  assert len(rows(tmp_path)) == 1


def test_other_agents_are_refused(replay, agent, tmp_path, capsys):
  out = tmp_path / 'out'
  fails(capsys, "'model_opt.lr' must be float", arguments(
      out, agent, rest=(*FLAGS, '--model_opt.lr', 'fast')))
  fails(capsys, 'holds a run with actor.units', arguments(
      out, agent, rest=(*FLAGS, '--actor.units', '9')))
  fails(capsys, 'holds a run with seed', arguments(out, agent, seed=1))
  fails(capsys, "trained with size '64', not '32'", expert(
      out, agent, size=32))
  fails(capsys, 'no finished run', expert(out, tmp_path))
  fails(capsys, 'there and', arguments(replay, agent, steps=BLOCK))
  assert not list(tmp_path.iterdir())


def test_expert(replay, agent, tmp_path):
  out = tmp_path / 'expert'
  assert collect.main(expert(out, agent, steps=30)) == 0
  metadata = episodes.read_metadata(out)
  assert metadata['frames'] >= 30 and metadata['complete']
  assert metadata['agent']['task'] == 'dummy_2'
  assert metadata['agent_summary']['returns'].keys() == {'source'}
  assert metadata['agent_logdir'] == str(agent)
  policy, _ = online.load_policy(
      agent, metadata, dummy.Dummy(2, seed=0, size=64), seed=0)
  assert policy.mode == 'eval'
  assert int(policy.agent.updates) == records(agent)[-1]['step']
  changes = lambda found: np.mean([
      np.abs(np.diff(episode['action'][1:], axis=0)).mean()
      for episode in found])
  # After the mode of the policy, three episodes of random actions, which
  # change by 2 / 3.
  assert changes(rows(out)) < 0.58 < changes(rows(replay, 3))


@pytest.mark.parametrize('argv, words', [
    (arguments('out', steps=50), 'multiple of schedule.source_steps'),
    (arguments('out', rest=('--seeed', '1')), "'--seeed'"),
    (arguments('out', rest=(*FLAGS, '--task', 'dummy_3')),
     "'--task' is given twice"),
    (arguments('out', configs=('debugg',)), "unknown overlay 'debugg'"),
    (arguments('out', policy='random'), '--policy random trains no agent'),
    (expert('out', None), '--policy expert needs the --agent_logdir'),
    (arguments('out', 'x', 'random', rest=(), configs=()), 'no agent')])
def test_wrong_input_leaves_nothing_behind(
    argv, words, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  fails(capsys, words, argv)
  assert not list(tmp_path.iterdir())


def test_log_of_an_older_version(tmp_path):
  (tmp_path / 'evaluations.jsonl').write_text(
      '{"policy": "source", "step": 0, "returns": [1.0]}\n')
  with pytest.raises(ValueError, match='older version'):
    online.learning_curve(tmp_path)
