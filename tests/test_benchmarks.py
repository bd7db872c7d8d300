"""Benchmarks judge correctly and never report an earlier run."""

import json

import pytest

from benchmarks import demo, online


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
