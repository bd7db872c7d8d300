"""Summary, table and figures of a finished run."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import report
from dreamerv2_base import episodes, replay


def write(path, records):
  path.write_text(''.join(json.dumps(x) + '\n' for x in records))


@pytest.fixture
def logdir(tmp_path):
  write(tmp_path / 'metrics.jsonl', [
      {'step': step, 'target/return': 2.0 * step, 'phase': 'target'}
      for step in (0, 10, 20)])
  write(tmp_path / 'evaluations.jsonl', [
      {'policy': 'random', 'step': 0, 'returns': [1.0, 2.0]},
      {'policy': 'source', 'step': 5, 'returns': [7.0]},
      {'policy': 'target', 'step': 10, 'returns': [0.0, 0.0]},
      {'policy': 'target', 'step': 20, 'returns': [20.0, 22.0, 24.0]}])
  return tmp_path


@pytest.fixture
def dataset(tmp_path):
  folder = tmp_path / 'data'
  folder.mkdir()
  data = replay.Replay(folder, writable=True)
  for reward in (2, 6):
    data.append({
        'image': np.zeros((2, 8, 8, 3), np.uint8),
        'action': np.zeros((2, 1), np.float32),
        'reward': np.array([0, reward], np.float32),
        'is_first': np.array([True, False]),
        'is_last': np.array([False, True]),
        'is_terminal': np.zeros(2, bool)})
  return data


def test_pair(logdir, dataset, make_config):
  config = make_config({
      'source_task': 'dummy_2', 'target_task': 'dummy_3',
      'offline_dir': 'data'})
  summary = report.finish(config, logdir, None, dataset, {'seconds': 3.5})
  assert json.loads((logdir / 'summary.json').read_text()) == summary
  assert list(summary['returns']) == ['random', 'dataset', 'target']
  expected = {
      'random': (1.5, 0.5, 2), 'dataset': (4, 2, 2),
      'target': (22, 2 / math.sqrt(3), 3)}
  for name, values in expected.items():
    entry = summary['returns'][name]
    found = [entry[key] for key in ('mean', 'stderr', 'episodes')]
    assert found == pytest.approx(values), name
  assert summary['seconds'] == 3.5 and summary['target_task'] == 'dummy_3'
  assert summary['tensorflow'] == tf.__version__
  assert 'task' not in summary and summary['dataset'] == {}
  for name in ('curves.png', 'returns.png'):
    assert (logdir / name).stat().st_size > 1000
  title, *lines = report.table(summary).splitlines()
  assert title.split()[-1] == 'episodes'
  assert [line.split() for line in lines] == [
      ['random', '1.5', '0.5', '2'], ['dataset', '4.0', '2.0', '2'],
      ['target', '22.0', '1.2', '3']]


def test_facts_of_the_dataset(logdir, dataset, make_config):
  config = make_config({'offline_dir': str(logdir / 'data')})
  facts = lambda: report.finish(config, logdir, None, dataset, {})['dataset']
  episodes.write_metadata(logdir / 'data', {
      'policy': 'medium_replay', 'cut': {'s_max': 3.5, 'share': 0.3}})
  assert facts() == {'policy': 'medium_replay', 's_max': 3.5}
  episodes.write_metadata(logdir / 'data', {'policy': 'random'})
  assert facts() == {'policy': 'random'}
  (logdir / 'data' / episodes.METADATA).write_text('{')
  assert facts() == {}


def test_success(logdir, dataset, make_config):
  write(logdir / 'evaluations.jsonl', [
      {'policy': 'random', 'step': 0, 'returns': [1.0], 'successes': []},
      {'policy': 'target', 'step': 20, 'returns': [2.0, 2.0, 3.0],
       'successes': [False, True, True]}])
  summary = report.finish(make_config(), logdir, None, dataset, {})
  assert summary['returns']['target']['success'] == pytest.approx(2 / 3)
  assert 'success' not in summary['returns']['random']
  title, random, data, target = report.table(summary).splitlines()
  assert title.split()[-2:] == ['episodes', 'success']
  assert len(target) == len(title) > len(random) == len(data)
  assert target.split() == ['target', '2.3', '0.3', '3', '67%']


def test_source_alone(logdir, make_config):
  write(logdir / 'evaluations.jsonl', [
      {'policy': 'source', 'step': 5, 'returns': [7.0]}])
  write(logdir / 'metrics.jsonl', [{'step': 5, 'source/return': 7.0}])
  config = make_config({'method': 'dreamerv2', 'task': 'dummy_2'})
  summary = report.finish(config, logdir, None, None, {})
  assert summary['returns'] == {
      'source': {'mean': 7, 'stderr': 0, 'episodes': 1}}
  assert summary['task'] == 'dummy_2' and 'offline_dir' not in summary
