"""Real runs survive faults, and what does not survive is told."""

import json
import pathlib
import random
import shutil
import subprocess
import sys

import pytest

from benchmarks import fault_kinds, fault_runs, faults
from coworld_tf import checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  place = tmp_path_factory.mktemp('faults')
  fault_runs.prepare()
  fault_runs.collect(place / 'data')
  return faults.undisturbed('offline_dv2', place / 'data', place / 'run')


def test_a_fault_of_each_group(tmp_path):
  path = tmp_path / 'faults.json'
  result = subprocess.run(
      [sys.executable, '-m', 'benchmarks.faults', '--rounds', '4', '--seed',
       '2560', '--faults', '1', '--methods', 'dreamerv2', '--out', path],
      cwd=ROOT, capture_output=True, text=True, timeout=500)
  assert result.returncode == 0, result.stdout + result.stderr
  assert '4 rounds, 4 faults' in result.stdout
  rounds = json.loads(path.read_text())['rounds']
  assert all(x['happened'] == x['faults'] for x in rounds)
  for group, found in zip(
      fault_kinds.KINDS.values(),
      sorted(rounds, key=lambda x: x['number']), strict=True):
    assert set(found['happened']) <= set(group)


def test_differences_are_found(finished, tmp_path):
  other = tmp_path / 'run'
  shutil.copytree(finished.logdir, other)
  assert fault_runs.differences(finished.logdir, other) == []
  with (other / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 1, "time": 2}\n')
  next((other / 'videos').iterdir()).unlink()
  for path in checkpoints.kept(other / 'checkpoints')[1:]:
    shutil.rmtree(path)
  found = fault_runs.differences(finished.logdir, other)
  assert found[0] == 'metrics.jsonl' and found[1].endswith('.gif')
  assert 'position' in found
  assert any('ac/actor' in name for name in found)


def test_other_ends_are_told(finished, tmp_path):
  run = fault_runs.Run('dreamerv2', tmp_path, tmp_path / 'run')
  run.logdir.write_text('no directory')
  with pytest.raises(fault_runs.Lost, match='status 2, 1 errors'):
    run.finish(run.start())
  assert run.finish(run.start(), 2) == 2


def test_damage_that_goes_unnoticed_is_told(finished, tmp_path):
  def damage(run, facts, rng):
    path = run.logdir / 'summary.json'
    return {path: path.read_bytes()}, False
  with pytest.raises(fault_runs.Lost, match='status 0 with damaged .*summary'):
    fault_kinds.damaged(damage)(finished, 1, 1, random.Random(0))
