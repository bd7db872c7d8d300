"""Benchmarks judge correctly and never report an earlier run."""

import json

import pytest

import envs
from benchmarks import comparison, demo, online, pictures
from benchmarks import envs as speed
from benchmarks.parity import learning, train
from tests.analysis import stored_runs


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


def test_comparison_keeps_what_runs_say(tmp_path):
  logdir = stored_runs.write(tmp_path / 'run', 'offline_dv2')
  stored_runs.rewrite(logdir / 'summary.json', offline_dir='data')
  stored_runs.write_lines(logdir / 'metrics.jsonl', [
      {'step': 1, 'target/penalty': 1.0, 'target/imag_reward': -0.5},
      {'step': 2, 'target/penalty': 2.0, 'target/kl_loss': 3.0},
      {'step': 3, 'target/return': 100.0}])
  found = comparison.describe(logdir)
  assert found['last'] == {'target/imag_reward': -0.5, 'target/penalty': 2.0}
  assert found['evaluations'] == [
      {'target_updates': updates, 'mean_return': mean}
      for updates, mean in ((0, 20.0), (100, 60.0), (200, 100.0))]
  assert found['method'] == 'offline_dv2' and 'offline_dir' not in found


def test_comparison_leaves_the_page_out(tmp_path):
  tables, out = tmp_path / 'table3', tmp_path / 'out'
  tables.mkdir()
  for name in ('cells.csv', 'comparison.html'):
    (tables / name).write_text(name)
  for _ in range(2):
    comparison.write({'runs': []}, tables, out)
  assert sorted(path.name for path in out.iterdir()) == [
      'cells.csv', 'comparison.json']


def test_learning_curves_are_compared_in_standard_errors():
  points = 2 * learning.WINDOWS
  curve = lambda last: {
      name: [0.0] * (points - 2) + [last, last] for name in train.METRICS}
  verdict = learning.judge({
      'here': [curve(1.0), curve(3.0)], 'official': [curve(8.0), curve(8.0)],
      'here-bfloat16': [curve(9.0), curve(9.0)]}, ('here', 'official'))
  lines = learning.table(verdict, ('here', 'official')).splitlines()
  assert lines[0].startswith('| | here, last tenth | official, last tenth |')
  assert len(lines) == 2 + len(train.METRICS)
  for entry in verdict.values():
    assert entry['here'] == [2.0, pytest.approx(2 ** 0.5)]
    assert entry['official'] == [8.0, 0.0]
    assert entry['differences'] == [0.0] * (learning.WINDOWS - 1) + [-6.0]
    assert entry['overlaps'] == [True] * (learning.WINDOWS - 1) + [False]


@pytest.mark.parametrize('flags, message', [
    (['--updates', '150'], 'multiple of 200'),
    (['--seeds', '1'], '--seeds at least two')])
def test_learning_refuses_what_it_cannot_compare(flags, message, capsys):
  with pytest.raises(SystemExit) as info:
    learning.main(flags)
  assert info.value.code == 2 and message in capsys.readouterr().err


# Ratios of medians would differ from these.
RATES = {
    'exact': {1: [10.0, 4.0, 20.0], 2: [30.0, 6.0, 20.0], 4: [2.0, 3.0, 1.0]},
    'fast': {
        1: [80.0, 20.0, 40.0], 2: [112.0, 40.0, 40.0], 4: [7.0, 8.0, 9.0]}}
RATIOS = {
    'fast / exact': 5.0, '2 / 1 workers, exact': 1.5,
    '2 / 1 workers, fast': 1.4}


def test_ratios_are_taken_within_rounds():
  assert speed.judge(RATES) == RATIOS


def test_missed_ratios_are_named():
  tasks = {name: {'ratios': RATIOS} for name in list(speed.TASKS)[:2]}
  assert speed.misses(tasks) == [
      'dmc_walker_walk: 2 / 1 workers, fast is 1.4, not at least 1.5',
      'metaworld_door-close: fast / exact is 5.0, not at least 8',
      'metaworld_door-close: 2 / 1 workers, fast is 1.4, not at least 1.5']


def test_speeds_are_tabled():
  lines = speed.table({'a': {'rates': RATES, 'ratios': RATIOS}}).split('\n')
  assert lines[2:] == [
      '| a | exact | 10 | 20 | 2 | 1.5 |  |',
      '| a | fast | 40 | 40 | 8 | 1.4 | 5.0 |']
  assert len({line.count('|') for line in lines}) == 1


def test_speed_is_measured(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(speed, 'COUNTS', (1, 2))
  monkeypatch.setattr(speed, 'TASKS', {'dummy_2': 1000})
  monkeypatch.setattr(speed, 'RESULTS', tmp_path / 'results' / 'envs.json')
  assert speed.main(['--rounds', '2', '--seconds', '0.05']) == 0
  result = json.loads(speed.RESULTS.read_text())
  rates = result['tasks']['dummy_2']['rates']
  assert list(rates) == ['exact', 'fast']
  for counts in rates.values():
    assert [len(rounds) for rounds in counts.values()] == [2, 2]
    assert min(map(min, counts.values())) > 20
  assert result['machine']['load'] >= 0
  assert '\ndummy_2: fast / exact is ' in capsys.readouterr().out


@pytest.mark.parametrize('flags', [['--rounds', '0'], ['--seconds', '0']])
def test_speed_needs_time(flags, capsys):
  with pytest.raises(SystemExit) as info:
    speed.main(flags)
  assert info.value.code == 2
  assert 'must be positive' in capsys.readouterr().err


def test_every_suite_is_pictured():
  names = [f'{suite}_{name}' for suite, tasks in pictures.SUITES.items()
           for name in tasks]
  assert len(names) == 18
  for name in names:
    envs.check_task(name)
  image = pictures.after_random_steps('dummy_2')
  assert image.shape == (160, 160, 3) and image.any()


def test_pictures_need_a_run(tmp_path, capsys):
  with pytest.raises(SystemExit) as info:
    pictures.main(['demo', '--run', str(tmp_path / 'none')])
  assert info.value.code == 2
  assert capsys.readouterr().err.startswith('error: ')
