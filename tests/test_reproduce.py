"""Execution of plans with small real processes, and the program itself."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from coworld_tf import (
  estimates,
  experiments,
  inputs,
  methods,
  processes,
  reproduce,
)
from dreamerv2_base import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[1]
WRITE = 'import sys; open(sys.argv[1], "w").write("{}"); print("wrote")'


def step(directory, name, needs=(), code=WRITE):
  done = directory / f'{name}.json'
  return experiments.Step(name, ('-c', code, str(done)), needs, done)


def prepare(steps, directory, jobs=1, times=()):
  logs = directory / 'logs'
  logs.mkdir()
  return reproduce.Execution(steps, jobs, logs, dict(times))


def execute(steps, directory, jobs=1, times=()):
  execution = prepare(steps, directory, jobs, times)
  execution.run()
  return execution


def test_order_and_logs(tmp_path, capsys):
  check = f'import os; assert os.path.exists("{tmp_path}/a.json"); ' + WRITE
  steps = [step(tmp_path, 'b', ('a',), check), step(tmp_path, 'a')]
  assert not execute(steps, tmp_path, 2, {'a': 0.0, 'b': 9.0}).failed
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


@pytest.mark.parametrize('text', ['{"retu', '[1]', '"text"'])
def test_a_damaged_result(tmp_path, text):
  bad = step(tmp_path, 'a', code=WRITE.replace('{}', text.replace('"', "'")))
  failed = execute([bad], tmp_path).failed['a']
  assert failed.startswith(f'status 0, {bad.done}: ')
  with pytest.raises(ValueError, match=f'^{bad.done}: '):
    reproduce.is_done(bad)


def test_what_is_done_is_skipped(tmp_path):
  steps = [step(tmp_path, 'a'), step(tmp_path, 'b')]
  steps[0].done.write_text('{}')
  steps[1].done.write_text('{"complete": false}')
  assert execute(steps, tmp_path).total == 1
  assert not (tmp_path / 'logs' / 'a.log').exists()


def test_jobs_share_the_cores(tmp_path):
  # Each waits for the other, so both finish only if they run together.
  code = """if 1:
    import json, os, pathlib, sys, time
    done = pathlib.Path(sys.argv[1])
    done.with_suffix('.begun').touch()
    end = time.monotonic() + 20
    while len(list(done.parent.glob('*.begun'))) < 2:
      assert time.monotonic() < end
      time.sleep(0.05)
    threads = os.environ['TF_NUM_INTRAOP_THREADS']
    done.write_text(json.dumps({'threads': threads}))"""
  steps = [step(tmp_path, name, code=code) for name in 'ab']
  assert not execute(steps, tmp_path, jobs=2).failed
  share = str(max(1, os.cpu_count() // 2))
  assert [json.loads(x.done.read_text()) for x in steps] == (
      [{'threads': share}] * 2)


def wait(condition):
  end = time.monotonic() + 60
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.05)


def test_stop_ends_children_of_children(tmp_path):
  pid = tmp_path / 'pid'
  code = ('import subprocess, sys; p = subprocess.Popen([sys.executable, '
          f'"-c", "import time; time.sleep(99)"]); '
          f'open("{pid}", "w").write(str(p.pid)); p.wait()')
  execution = prepare([], tmp_path)
  processes.listen()
  execution._start(step(tmp_path, 'a', code=code))
  wait(lambda: pid.exists() and pid.read_text())
  execution.stop()
  state = pathlib.Path(f'/proc/{pid.read_text()}/stat')
  wait(lambda: not state.exists() or state.read_text().split()[2] == 'Z')


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


# At the scale `small` it is still measuring.
@pytest.mark.parametrize('number, scale, sign', [
    (signal.SIGINT, 'smoke', 'started'), (signal.SIGTERM, 'smoke', 'started'),
    (signal.SIGTERM, 'small', '# measuring')])
def test_interrupt_ends_everything(command, tmp_path, number, scale, sign):
  command[command.index('smoke')] = scale
  log = tmp_path / 'log'
  with log.open('w') as file:
    process = subprocess.Popen(
        [*command, '--run'], cwd=ROOT, stdout=file, stderr=file,
        env={**os.environ, 'TMPDIR': str(tmp_path), 'PYTHONUNBUFFERED': '1'},
        start_new_session=True)
  found = lambda: subprocess.run(
      ['pgrep', '-f', f'[ =]{tmp_path}/'], capture_output=True,
      text=True).stdout.split()
  try:
    wait(lambda: sign in log.read_text() and len(found()) > 1)
    process.send_signal(number)
    assert process.wait(60) == 130
  finally:
    process.kill()
  assert log.read_text().endswith('\nstopped; the same command continues\n')
  wait(lambda: not found())


@pytest.mark.parametrize('argv, words', [
    (['--jobs', '0'], '--jobs is 0'), (['--seeds', '-1'], '-1 is negative'),
    (['--pairs', 'WD-WW'], "'WD-WW', use some of WW-WD")])
def test_wrong_input(argv, words, capsys):
  assert words in refused(['table3', '--scale', 'small', *argv], capsys)


def refused(argv, capsys):
  with pytest.raises(SystemExit) as info:
    reproduce.main(argv)
  assert info.value.code == 2
  error = capsys.readouterr().err
  assert error.startswith('error: ') and error.count('\n') == 1
  return error


def test_a_file_in_place_of_a_directory(command, tmp_path, capsys):
  (tmp_path / 'out').write_text('')
  assert f'{tmp_path}/out is a file' in refused(command[3:], capsys)


def test_damaged_files_are_named(command, tmp_path, capsys):
  command[command.index('smoke')] = 'small'
  out = tmp_path / 'out' / 'small'
  _, run = experiments.plan(
      'table3', 'small', out, [0], ['WW-WD'], ['dreamerv2_offline'])
  run.done.parent.mkdir(parents=True)
  run.done.write_text('[]')
  assert f'{run.done}: must hold' in refused(command[3:], capsys)
  run.done.unlink()
  for text in ('{', '[]', '{"coworld dmc": 3}', '{"coworld dmc": {}}'):
    (out / 'measured.json').write_text(text)
    assert f'{out}/measured.json: ' in refused(command[3:], capsys)


def test_other_settings_are_refused(command, tmp_path, capsys):
  _, run = experiments.plan(
      'table3', 'smoke', tmp_path / 'out' / 'smoke', [0], ['WW-WD'],
      ['dreamerv2_offline'])
  run.done.parent.mkdir(parents=True)
  run.done.write_text('{}')
  (run.done.parent / 'config.yaml').write_text('method: coworld\n')
  error = refused(command[3:], capsys)
  assert run.name in error
  assert "method 'coworld', not 'dreamerv2_offline'" in error


def test_times_of_a_short_run():
  clock = {'source': [20.0, 21.0, 22.0, 23.0],
           'target_model': [40.0, 40.5, 41.0], 'target': [50.0, 52.0, 54.0]}
  records = [
      {'phase': phase, 'seconds': x} for phase, marks in clock.items()
      for x in marks]
  # The first of two evaluations compiled something.
  records += [
      {'phase': phase, 'seconds': 60.0, 'evaluation_seconds': seconds}
      for phase, seconds in [
          ('evaluate_target', 9.0), ('evaluate_target', 4.0),
          ('evaluate_final', 12.0)]]
  found = estimates.times(records, length=10, envs=2)
  # 4 s for 10 steps, 12 s for 50.
  assert found == pytest.approx({
      'source': 1, 'target_model': 0.5, 'target': 2, 'step': 0.2, 'start': 2})


@pytest.mark.parametrize('method', [*inputs.METHODS])
def test_the_evaluation_that_counts_does_not_compile(method):
  config = experiments.configuration(
      ['--configs', 'dmc', method, '--multi_source.candidates', 'a', 'b'])
  short = configs.merge(config, estimates.short_run(config, 4), 'test')
  domain = 'source' if method == 'dreamerv2' else 'target'
  learned, found = False, 0
  for block in methods.make_blocks(short):
    found += learned and block.phase == f'evaluate_{domain}'
    learned = learned or block.phase.startswith(domain)
  # The first compiles the prediction.
  assert found >= 2


def test_a_finished_agent_takes_no_time(tmp_path):
  data, _ = experiments.plan(
      'table3', 'small', tmp_path, [0], ['WW-WD'], ['dreamerv2_offline'])
  agent = pathlib.Path(estimates.value(data, '--agent_logdir'))
  agent.mkdir(parents=True)
  assert not estimates.has_agent(data)
  for name in ('config.yaml', 'summary.json'):
    (agent / name).write_text('{}')
  assert estimates.estimate([data], 'small', tmp_path, print) == {
      data.name: 0}


def test_a_failed_measurement_is_a_warning(tmp_path, capsys):
  _, run = experiments.plan(
      'table3', 'small', tmp_path, [0], ['WW-WD'], ['dreamerv2_offline'])
  argv = [x.replace('dmc_walker_downhill', 'dmc_none') for x in run.argv]
  args = reproduce.parse_arguments(
      ['table3', '--scale', 'small', '--out', str(tmp_path)])
  assert reproduce.measure(args, [run._replace(argv=argv)]) == {}
  error = capsys.readouterr().err.splitlines()[-1]
  assert error.startswith('warning: no estimate, because a short run')
  assert 'dmc_none' in error


def test_every_source_is_pretrained():
  config = experiments.configuration([
      '--configs', 'dmc', 'multi_source', 'debug', '--pretrain', '1000000',
      '--multi_source.candidates', 'a', 'b', 'c'])
  found = estimates.seconds(config, 25, {
      'step': 0.0, 'start': 0.0, 'target': 0.0, 'source': 1.0})
  assert found // config.pretrain == 3


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
