"""Shares of time are brought to the paper's blocks and judged."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from benchmarks import shares as benchmark
from coworld_tf import experiments, methods, shares
from dreamerv2_base import flags, logger


@pytest.mark.parametrize('phase, spent, updates, steps, seconds, met', [
    # 100 times as many updates, and one checkpoint and one each 120 s.
    ('target', {'update': 12.0}, 10, 500, {'update': 1200.0}, True),
    ('target', {'update': 12.0, 'checkpoint': 1.0}, 10, None,
     {'update': 1200.0, 'checkpoint': 11.0}, True),
    # Beside updates; or five times as many episodes, five times as long.
    ('target', {'update': 12.0, 'evaluation': 1.0}, 10, None,
     {'update': 1200.0, 'evaluation': 1.0}, True),
    ('target', {'update': 12.0, 'evaluation': 1.0}, 10, 100,
     {'update': 1200.0, 'evaluation': 25.0}, False),
    ('source_aligned', {'update': 12.0, 'evaluation': 1.0}, 10, 500,
     {'update': 1200.0, 'evaluation': 1.0}, True),
    ('source_aligned', {'update': 8.9, 'environment': 1.1}, 10, 500,
     {'update': 890.0, 'environment': 110.0}, False),
    ('source_aligned', {'update': 9.1, 'other': 0.9}, 10, 500,
     {'update': 910.0, 'other': 90.0}, True)])
def test_blocks_are_judged(phase, spent, updates, steps, seconds, met):
  measured = {**dict.fromkeys(shares.KINDS, 0.0), **spent}
  found = benchmark.judge(measured, phase, updates, steps)
  assert {k: x for k, x in found['seconds'].items() if x} == seconds
  assert found['met'] == met
  total = sum(seconds.values())
  assert found['shares']['update'] == pytest.approx(
      seconds['update'] / total, abs=1e-4)


def test_what_a_trainer_logs_is_understood(tmp_path, capsys):
  words = ['--configs', 'dreamerv2', 'debug', '--task', 'dummy_2']
  config = flags.parse(
      [*words, '--logdir', str(tmp_path)], experiments.ROOT / 'configs')
  logger.setup_terminal('coworld_tf')
  trainer = methods.build(config, tmp_path, None)
  with trainer.shares('update'):
    time.sleep(0.3)
  trainer.tell_shares()
  (phase, line, total), = benchmark.LINE.findall(capsys.readouterr().err)
  found = benchmark.seconds(line, float(total))
  assert phase in trainer.shares.phases and set(found) == set(shares.KINDS)
  assert sum(found.values()) == pytest.approx(float(total), abs=0.01)
  assert found['update'] > 0.2


def test_a_place_that_cannot_be_used_is_told(tmp_path, capsys):
  (tmp_path / 'damaged').write_text('{')
  for out, message in [
      ('damaged', 'damaged, not valid JSON'), ('damaged/new', 'damaged'),
      ('', 'Is a directory')]:
    with pytest.raises(SystemExit, match='2'):
      benchmark.main(['--out', str(tmp_path / out)])
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and message in error


@pytest.mark.parametrize('name', ['shares', 'stablehlo'])
def test_a_stopped_benchmark_leaves_no_process(name):
  process = subprocess.Popen(
      [sys.executable, '-m', f'benchmarks.{name}'], cwd=experiments.ROOT)
  path = f'/proc/{process.pid}/task/{process.pid}/children'
  deadline, group = time.time() + 60, None
  while not group and time.time() < deadline:
    # A program has a group of its own, unlike git, which is asked first.
    group = next((
        int(x) for x in pathlib.Path(path).read_text().split()
        if os.getpgid(int(x)) == int(x)), None)
    time.sleep(0.05)
  process.terminate()
  assert process.wait(60) == 130
  with pytest.raises(ProcessLookupError):
    os.killpg(group, 0)
