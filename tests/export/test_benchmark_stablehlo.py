"""The exported training step repeats itself without TensorFlow."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.stablehlo import export, run

SCRIPT = pathlib.Path(run.__file__)
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


def repeat(*argv):
  """Calls run.py where only jaxlib can be imported."""
  others = (
      'tensorflow', 'jax', 'benchmarks', 'coworld_tf', 'dreamerv2_base',
      'envs')
  code = (
      'import runpy, sys\n'
      f'sys.modules.update(dict.fromkeys({others}))\n'
      "runpy.run_path(sys.argv.pop(1), run_name='__main__')")
  return subprocess.run(
      [sys.executable, '-c', code, SCRIPT, *argv], capture_output=True,
      text=True, cwd='/', env={
          # Compiles in a third of the time.
          **os.environ, 'XLA_FLAGS': '--xla_backend_optimization_level=0'})


def test_losses_are_those_of_tensorflow(exported, tmp_path):
  out = tmp_path / 'result.json'
  process = repeat(
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


def test_missing_losses_are_told(exported, tmp_path, capsys):
  shutil.copytree(exported, tmp_path / 'step')
  (tmp_path / 'step' / 'losses.npz').unlink()
  assert run.main([str(tmp_path / 'step')]) == 2
  assert 'losses.npz' in capsys.readouterr().err


def test_other_losses_are_not_equal():
  rng = np.random.default_rng(0)
  theirs = {'a_loss': rng.normal(size=10), 'norm': np.zeros(10)}
  def equal(start=0, shift=0.0, near=0.01, far=0.1, index=None):
    ours = {'a_loss': theirs['a_loss'].copy(), 'norm': np.ones(10)}
    if index is not None:
      ours['a_loss'][index] += shift * np.abs(theirs['a_loss']).mean()
    middle = {key: x[start:] for key, x in ours.items()}
    return run.judge(
        run.gaps(ours, theirs), run.gaps(middle, theirs, start), near, far)
  assert equal()['equal'] and equal()['updates_near'] == 10
  # Close at first and rough later, unless networks were made equal again.
  assert equal(shift=0.05, index=5)['equal']
  assert equal(shift=0.05, index=5)['updates_near'] == 5
  assert not equal(shift=0.05, index=2)['equal']
  assert not equal(shift=0.05, index=5, start=4)['equal']
  assert not equal(shift=0.2, index=9)['equal']
  assert not equal(shift=np.nan, index=9)['equal']


def test_mistakes_are_told_in_one_line(exported, tmp_path, capsys):
  for argv, message in [
      ([tmp_path], 'has no benchmark.json'),
      ([exported, '--peak', '0'], '--peak'),
      ([exported, '--device', 'none'], '--device none: no such file'),
      ([exported, '--out', tmp_path], str(tmp_path))]:
    assert run.main([str(word) for word in argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    assert message in error
  for argv, message in [
      ([tmp_path, '--rssm.detr', '1'], "did you mean '--rssm.deter'"),
      ([exported, *TINY], 'is in use'),
      ([tmp_path, '--updates', '0'], '--updates and --batches')]:
    with pytest.raises(SystemExit, match='2'):
      export.main(['--out', *map(str, argv)])
    assert message in capsys.readouterr().err
