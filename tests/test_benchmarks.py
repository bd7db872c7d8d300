"""Benchmarks judge correctly and never report an earlier run."""

import json

import pytest

from benchmarks import demo, online
from benchmarks.parity import learning, train


def returns(target):
  return {'returns': {
      'target': {'mean': target, 'stderr': 3.0},
      'random': {'mean': 10.0, 'stderr': 4.0},
      'dataset': {'mean': 20.0, 'stderr': 0.0}}}


@pytest.mark.parametrize('target, lead, success', [
    (27.5, {'random': 3.5, 'dataset': 2.5}, True),
    (26.0, {'random': 3.2, 'dataset': 2.0}, False)])
def test_judge(target, lead, success):
  assert demo.judge(returns(target)) == {'lead': lead, 'success': success}


@pytest.mark.parametrize('name', ['demo-3', 'demo-data-3'])
def test_demo_refuses_earlier_runs(tmp_path, capsys, name):
  (tmp_path / name).mkdir()
  with pytest.raises(SystemExit) as info:
    demo.main(['--seeds', '2', '3', '--out', str(tmp_path)])
  assert info.value.code == 2
  assert capsys.readouterr().err == (
      f'error: {tmp_path / name} exists; remove it or choose another --out\n')
  assert [path.name for path in tmp_path.iterdir()] == [name]


def test_demo_needs_a_job(tmp_path, capsys):
  with pytest.raises(SystemExit):
    demo.main(['--jobs', '0', '--out', str(tmp_path)])
  assert '--jobs is 0' in capsys.readouterr().err


def test_online_refuses_earlier_runs(tmp_path, capsys):
  with pytest.raises(SystemExit) as info:
    online.main(['--logdir', str(tmp_path)])
  assert info.value.code == 2
  assert capsys.readouterr().err == (
      f'error: {tmp_path} exists; remove it or choose another --logdir\n')


def test_results_are_written_whole(tmp_path):
  path = tmp_path / 'results' / 'demo.json'
  demo.write({'runs': []}, path)
  assert json.loads(path.read_text()) == {'runs': []}
  assert list(path.parent.iterdir()) == [path]


def test_learning_curves_are_compared_in_seed_deviations():
  points = 2 * learning.WINDOWS
  curve = lambda last: {
      name: [0.0] * (points - 2) + [last, last] for name in train.METRICS}
  verdict = learning.judge({
      'here': [curve(1.0), curve(3.0)], 'official': [curve(8.0), curve(8.0)]})
  for entry in verdict.values():
    assert entry['here'] == [2.0, pytest.approx(2 ** 0.5)]
    assert entry['official'] == [8.0, 0.0]
    assert entry['largest_difference'] == pytest.approx(6 / 2 ** 0.5)


@pytest.mark.parametrize('flags, message', [
    (['--updates', '150'], 'multiple of 200'),
    (['--seeds', '1'], '--seeds at least two')])
def test_learning_refuses_what_it_cannot_compare(flags, message, capsys):
  with pytest.raises(SystemExit) as info:
    learning.main(flags)
  assert info.value.code == 2 and message in capsys.readouterr().err
