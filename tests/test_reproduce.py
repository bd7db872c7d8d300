"""Execution of plans with small real processes, and the program itself."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from coworld_tf import estimates, experiments, reproduce

ROOT = pathlib.Path(__file__).resolve().parents[1]
WRITE = 'import sys; open(sys.argv[1], "w").write("{}"); print("wrote")'


def step(directory, name, needs=(), code=WRITE):
  done = directory / f'{name}.json'
  return experiments.Step(name, ('-c', code, str(done)), needs, done)


def execute(steps, directory, jobs=1):
  execution = reproduce.Execution(steps, jobs, directory / 'logs', {})
  execution.run()
  return execution


def test_order_and_logs(tmp_path, capsys):
  check = f'import os; assert os.path.exists("{tmp_path}/a.json"); ' + WRITE
  steps = [step(tmp_path, 'b', ('a',), check), step(tmp_path, 'a')]
  assert not execute(steps, tmp_path, jobs=2).failed
  assert all(map(reproduce.is_done, steps))
  assert (tmp_path / 'logs' / 'a.log').read_text() == 'wrote\n'
  lines = [x.split(' ', 1)[1] for x in capsys.readouterr().out.splitlines()]
  assert lines[0].startswith('[0/2] started a, log ')
  assert lines[1].startswith('[1/2] finished a after 0s, about ')
  assert lines[-1].startswith('[2/2] finished b after')


def test_a_failure_stops_only_what_needs_it(tmp_path):
  steps = [
      step(tmp_path, 'a', code='import sys; sys.exit("no luck")'),
      step(tmp_path, 'b', ('a',)), step(tmp_path, 'c', code='pass'),
      step(tmp_path, 'd')]
  failed = execute(steps, tmp_path).failed
  assert failed == {
      'a': 'status 1, no luck', 'b': 'needs a', 'c': 'status 0, '}
  assert reproduce.is_done(steps[-1])


def test_what_is_done_is_skipped(tmp_path):
  steps = [step(tmp_path, 'a'), step(tmp_path, 'b')]
  steps[0].done.write_text('{}')
  steps[1].done.write_text('{"complete": false}')
  assert execute(steps, tmp_path).total == 1
  assert not (tmp_path / 'logs' / 'a.log').exists()


def test_jobs_share_the_cores(tmp_path):
  code = ('import json, os, sys, time; time.sleep(1); '
          'json.dump(os.environ["TF_NUM_INTRAOP_THREADS"], '
          'open(sys.argv[1], "w"))')
  steps = [step(tmp_path, name, code=code) for name in 'ab']
  execution = reproduce.Execution(steps, 2, tmp_path / 'logs', {})
  share = str(max(1, os.cpu_count() // 2))
  assert execution.environment['TF_NUM_INTRAOP_THREADS'] == share
  for each in steps:
    each.done.write_text('{"complete": false}')
  start = time.time()
  with pytest.raises(AttributeError):
    execution.run()  # A string is no summary; both have run by then.
  execution.stop()
  assert time.time() - start < 1.9
  assert json.loads(steps[0].done.read_text()) == share


def test_stop_ends_children_of_children(tmp_path):
  pid = tmp_path / 'pid'
  code = ('import subprocess, sys; p = subprocess.Popen([sys.executable, '
          f'"-c", "import time; time.sleep(99)"]); '
          f'open("{pid}", "w").write(str(p.pid)); p.wait()')
  execution = reproduce.Execution(
      [step(tmp_path, 'a', code=code)], 1, tmp_path / 'logs', {})
  execution.logs.mkdir()
  execution.waiting.clear()
  execution._start(step(tmp_path, 'a', code=code))
  while not pid.exists() or not pid.read_text():
    time.sleep(0.05)
  execution.stop()
  time.sleep(0.3)
  state = pathlib.Path(f'/proc/{pid.read_text()}/stat')
  assert not state.exists() or state.read_text().split()[2] == 'Z'


@pytest.fixture
def command(tmp_path):
  return [
      sys.executable, '-m', 'coworld_tf.reproduce', 'table3', '--scale',
      'smoke', '--pairs', 'WW-WD', '--methods', 'dreamerv2_offline', '--seeds',
      '0', '--out', str(tmp_path / 'out')]


def test_plan_is_a_shell_script(command, tmp_path):
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert result.returncode == 0 and not result.stderr
  lines = [x for x in result.stdout.splitlines() if x and x[0] != '#']
  assert [x.split()[:3] for x in lines] == [
      ['python', '-m', 'coworld_tf.datasets'],
      ['python', 'train.py', '--configs'],
      ['python', '-m', 'coworld_tf.compare']]
  assert '# Not implemented: drq_bc, cql, curl, lompo' in result.stdout
  assert subprocess.run(
      ['bash', '-n'], input=result.stdout, text=True).returncode == 0
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_everything(command, tmp_path, number):
  process = subprocess.Popen(
      [*command, '--run'], cwd=ROOT, stdout=subprocess.PIPE,
      stderr=subprocess.PIPE, text=True, start_new_session=True)
  while 'started' not in process.stdout.readline():
    assert process.poll() is None
  process.send_signal(number)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 130
  assert errors == 'stopped; the same command continues\n'
  found = subprocess.run(
      ['pgrep', '-f', str(tmp_path / 'out')], capture_output=True)
  assert not found.stdout


@pytest.mark.parametrize('argv, words', [
    (['--jobs', '0'], '--jobs is 0'), (['--seeds', '-1'], '-1 is negative'),
    (['--pairs', 'WD-WW'], "'WD-WW', use some of WW-WD")])
def test_wrong_input(argv, words, capsys):
  with pytest.raises(SystemExit) as info:
    reproduce.main(['table3', '--scale', 'small', *argv])
  assert info.value.code == 2
  error = capsys.readouterr().err
  assert words in error and error.count('\n') == 1


def test_times_of_a_short_run():
  clock = {'evaluate_random': [5.0], 'source': [20.0, 21.0, 22.0, 23.0],
           'target_model': [40.0, 40.5, 41.0],
           'evaluate_target': [46.0], 'target': [50.0, 52.0, 54.0]}
  records = [
      {'phase': phase, 'seconds': x} for phase, marks in clock.items()
      for x in marks]
  records += [{'phase': 'evaluate_target', 'seconds': 58.0}]
  records += [{'phase': 'evaluate_final', 'seconds': 70.0}]
  found = estimates.times(records, length=10, envs=2)
  # 4 s for 10 steps, 12 s for 50.
  assert found == pytest.approx({
      'source': 1, 'target_model': 0.5, 'target': 2, 'step': 0.2, 'start': 2})


def test_seconds_of_a_run():
  step, = [x for x in experiments.plan(
      'table3', 'small', pathlib.Path('x'), [0], ['WW-WD'], ['coworld'])
      if x.needs]
  config = experiments.configuration(estimates.arguments(step, 'small'))
  parts = {'step': 0, 'start': 0}
  model = estimates.seconds(config, 250, {**parts, 'target_model': 1.0})
  schedule = config.schedule
  assert model == schedule.warmup * schedule.model_updates
  target = estimates.seconds(config, 250, {
      **parts, 'target_model': 0.0, 'target': 1.0})
  assert target == schedule.rounds * schedule.target_blocks * (
      schedule.target_steps // 10)
  starts = estimates.seconds(config, 250, {
      'step': 0, 'start': 1, 'target_model': 0.0})
  phases = schedule.source_pretrain + schedule.warmup + (
      schedule.rounds - 1) * schedule.source_blocks
  assert starts == 2 + phases + schedule.rounds * schedule.target_blocks
