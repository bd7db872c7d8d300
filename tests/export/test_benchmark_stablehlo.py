"""The exported training step repeats itself without TensorFlow."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.stablehlo import export

SCRIPT = pathlib.Path(export.__file__).with_name('run.py')
UPDATES = 6
TINY = (
    '--configs', 'dreamerv2', 'debug', '--dataset.batch', '2',
    '--dataset.length', '4', '--imag_horizon', '2')


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
  path = tmp_path_factory.mktemp('step') / 'tiny'
  assert export.main([
      '--out', str(path), '--updates', str(UPDATES), '--batches', '2',
      *TINY]) == 0
  return path


def run(*argv):
  """Calls a copy of run.py where only jaxlib can be imported."""
  others = (
      'tensorflow', 'jax', 'benchmarks', 'coworld_tf', 'dreamerv2_base',
      'envs')
  code = (
      'import runpy, sys\n'
      f'sys.modules.update(dict.fromkeys({others}))\n'
      "runpy.run_path(sys.argv.pop(1), run_name='__main__')")
  return subprocess.run(
      [sys.executable, '-c', code, SCRIPT, *argv], capture_output=True,
      text=True, cwd='/')


def test_losses_are_those_of_tensorflow(exported, tmp_path):
  out = tmp_path / 'result.json'
  process = run(
      exported, '--updates', str(UPDATES), '--peak', '2', '--out', out)
  assert process.returncode == 0, process.stderr
  result = json.loads(out.read_text())
  losses, settings = result['losses'], result['settings']
  assert losses['equal'] and losses['updates'] == result['updates'] == UPDATES
  assert losses['largest_from_the_middle'] <= losses['near'] == 1e-4
  assert set(losses['largest']) == {
      'model_loss', 'image_loss', 'reward_loss', 'kl_loss', 'actor_loss',
      'critic_loss'}
  seconds = result['milliseconds'] / 1e3
  assert result['rows_per_second'] == pytest.approx(8 / seconds, 1e-2)
  assert result['tflops'] == pytest.approx(
      settings['operations'] / seconds / 1e12, 1e-2, 1e-4)
  assert result['fraction_of_peak'] == pytest.approx(
      result['tflops'] / 2, 1e-2, 1e-4)
  assert result['compile_seconds'] > 0 and result['memory']['mb'] > 0


@pytest.mark.parametrize('name, index', [
    ('losses.npz', 1), ('losses.npz', UPDATES // 2)])
def test_other_losses_end_with_status_1(exported, tmp_path, name, index):
  for path in exported.iterdir():
    (tmp_path / path.name).symlink_to(path)
  (tmp_path / name).unlink()
  losses = dict(np.load(exported / name))
  losses['kl_loss'][index] *= 1.01
  np.savez(tmp_path / name, **losses)
  process = run(tmp_path, '--updates', '2')
  assert process.returncode == 1, process.stderr
  assert not json.loads(process.stdout)['losses']['equal']
