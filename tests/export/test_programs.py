"""The programs around exported policies, and what they refuse."""

import json
import shutil
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
import tensorflow as tf

import envs
from coworld_tf import checkpoints, evaluate, evaluations, inputs
from coworld_tf.export import __main__ as program
from coworld_tf.export import artifact, saved_model
from dreamerv2_base import agent, files
from tests.export import runs


def test_metadata(run, exported):
  facts = artifact.check(exported)
  config = checkpoints.read_config(run)
  assert facts['config'] == json.loads(json.dumps(config.to_dict()))
  assert facts['task'] == 'dummy_2' and facts['method'] == 'dv2_finetune'
  assert facts['settings'] == {key: config[key] for key in inputs.SETTINGS}
  assert facts['action'] == {'low': [-1, -1], 'high': [1, 1]}
  assert facts['evaluation'] is None and facts['versions']['commit']
  loaded = tf.saved_model.load(str(exported)).signatures
  assert set(loaded) == set(facts['signatures'])
  for name, signature in loaded.items():
    specs = signature.structured_input_signature[1]
    assert facts['signatures'][name]['inputs'] == {
        key: [x.dtype.name, x.shape.as_list()] for key, x in specs.items()}
  subprocess.run(
      ['sha256sum', '--check', '--strict', '--quiet', 'SHA256SUMS'],
      cwd=exported, check=True)


def evaluated(out, *argv):
  assert evaluate.main([
      '--episodes', '3', '--videos', '1', '--out', str(out), *argv]) == 0
  return json.loads((out / 'evaluation.json').read_text())


@pytest.mark.parametrize('mode', ['eval', 'mode'])
def test_evaluation_equals_that_of_the_run(run, exported, tmp_path, mode):
  ours = evaluated(
      tmp_path / 'ours', '--saved_model', str(exported), '--mode', mode,
      '--task', 'dummy_2')
  theirs = evaluated(
      tmp_path / 'theirs', '--logdir', str(run), '--mode', mode)
  assert ours.pop('saved_model') == str(exported)
  assert ours.pop('checkpoint') in theirs.pop('checkpoint')
  for key in ('returns', 'mean', 'std', 'stderr'):
    assert ours.pop(key) == pytest.approx(theirs.pop(key), abs=1e-5)
  assert ours == theirs
  assert any((tmp_path / 'ours' / 'videos').glob('episode-0*.gif'))


@pytest.fixture(scope='module')
def elsewhere(tmp_path_factory):
  """Runs programs that find the libraries and envs, but not this project."""
  place = tmp_path_factory.mktemp('elsewhere')
  shutil.copytree(runs.ROOT / 'envs', place / 'envs')
  paths = [str(place), sysconfig.get_path('purelib')]
  def run(*argv):
    # Without `site` no installed link to the project is followed.
    return subprocess.run(
        [sys.executable, '-S', *map(str, argv)], cwd=place, text=True,
        capture_output=True, timeout=120,
        env={'PATH': '/usr/bin:/bin', 'PYTHONPATH': ':'.join(paths)})
  return run


@pytest.mark.parametrize('package', ['coworld_tf', 'dreamerv2_base'])
def test_elsewhere_there_is_no_training_code(elsewhere, package):
  found = elsewhere('-c', f'import {package}')
  assert 'ModuleNotFoundError' in found.stderr


def test_example_plays_elsewhere(run, exported, elsewhere):
  example = runs.ROOT / 'examples' / 'play.py'
  assert len(example.read_text().splitlines()) <= 30
  found = elsewhere(example, exported)
  assert found.returncode == 0, found.stderr
  learner, total, state = runs.live_agent(run), 0.0, None
  env = envs.make('dummy_2', 0, time_limit=12, quality='fast')
  obs = env.reset()
  play = agent.AgentPolicy(learner, 0, 'mode')
  while not obs['is_last']:
    outputs, state = play(
        {key: np.asarray(x)[None] for key, x in obs.items()}, state)
    obs = env.step({'action': outputs['action'][0, :2]})
    total += obs['reward']
  assert found.stdout == f'dummy_2: return {total:.1f}\n'


def test_evaluation_elsewhere(run, exported, elsewhere, tmp_path):
  request = {
      'saved_model': str(exported), 'signature': 'evaluate', 'episodes': 3,
      'envs': 2, 'seed': 0, 'videos': 0, 'out': str(tmp_path)}
  found = elsewhere(
      runs.ROOT / 'coworld_tf' / 'export' / 'player.py', json.dumps(request))
  assert found.returncode == 0, found.stderr
  expected = evaluated(tmp_path / 'live', '--logdir', str(run))
  result = json.loads((tmp_path / 'result.json').read_text())
  assert result['returns'] == pytest.approx(expected['returns'], abs=1e-5)


def refused(capsys, function, *argv):
  capsys.readouterr()
  with pytest.raises(SystemExit) as exit:
    function([str(word) for word in argv])
  error = capsys.readouterr().err.strip()
  assert exit.value.code == 2 and error.startswith('error: ')
  assert len(error.splitlines()) == 1
  return error


@pytest.fixture
def copy(exported, tmp_path):
  return shutil.copytree(exported, tmp_path / 'copy')


def files_of_a_policy():
  return [
      'SHA256SUMS', 'fingerprint.pb', 'metadata.json', 'saved_model.pb',
      'variables/variables.data-00000-of-00001', 'variables/variables.index']


def test_all_files_are_covered(exported):
  found = sorted(
      path.relative_to(exported).as_posix() for path in exported.rglob('*')
      if path.is_file())
  assert found == files_of_a_policy()


@pytest.mark.parametrize('name', files_of_a_policy())
def test_a_changed_byte_is_refused(copy, capsys, name):
  path = copy / name
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  refused(capsys, evaluate.main, '--saved_model', copy)


def test_another_task_is_refused(exported, capsys):
  error = refused(
      capsys, evaluate.main, '--saved_model', exported, '--task', 'dummy_3')
  assert "'dummy_2'" in error and "'dummy_3'" in error


@pytest.mark.parametrize('version', [artifact.FORMAT - 1, None, True])
def test_another_version_is_refused(copy, capsys, version):
  facts = json.loads((copy / artifact.METADATA).read_text())
  facts['format'] = version
  (copy / artifact.METADATA).write_text(json.dumps(facts))
  error = refused(capsys, evaluate.main, '--saved_model', copy)
  assert 'format version' in error and 'export the run again' in error


@pytest.mark.parametrize('key, value', [
    ('task', ['dummy_2']), ('settings', None), ('updates', '4')])
def test_metadata_of_another_kind_is_refused(copy, capsys, key, value):
  facts = json.loads((copy / artifact.METADATA).read_text())
  (copy / artifact.METADATA).write_text(json.dumps({**facts, key: value}))
  files.write_checksums(copy)
  error = refused(capsys, evaluate.main, '--saved_model', copy)
  assert f"'{key}' is missing or of another type" in error


def test_a_policy_has_no_other_checkpoint(exported, capsys):
  error = refused(
      capsys, evaluate.main, '--saved_model', exported, '--checkpoint', 'best')
  assert '--checkpoint' in error and 'is for --logdir' in error


def test_links_and_the_current_folder(run, tmp_path, monkeypatch, capsys):
  here, link = tmp_path / 'here', tmp_path / 'link'
  here.mkdir()
  link.symlink_to(here)
  monkeypatch.chdir(here)
  error = refused(capsys, program.main, '--logdir', run, '--out', '.')
  assert 'in use' in error
  monkeypatch.chdir(tmp_path)
  assert runs.export(run, link) == 0
  assert artifact.check(here)['task'] == 'dummy_2' and link.is_symlink()
  monkeypatch.chdir(here)
  args = evaluate.parse_arguments(['--saved_model', '.'])
  assert args.out == tmp_path / 'here-evaluation'


def test_simulators_of_the_path_are_found(copy, tmp_path, monkeypatch):
  place = tmp_path / 'place'
  place.mkdir()
  (place / 'my_dots.py').write_text('from tests.envs import dots')
  monkeypatch.setenv('PYTHONPATH', str(place))
  facts = json.loads((copy / artifact.METADATA).read_text())
  facts['task'] = 'gym_my_dots:Drawn-v0'
  (copy / artifact.METADATA).write_text(json.dumps(facts))
  files.write_checksums(copy)
  found = evaluated(tmp_path / 'out', '--saved_model', str(copy))
  assert found['episodes'] == 3


def record(updates, returns):
  return json.dumps({
      'policy': 'target', 'target_updates': updates, 'returns': returns})


def test_evaluation_is_that_of_the_checkpoint(run, tmp_path):
  logdir = shutil.copytree(run, tmp_path / 'run')
  config, path = checkpoints.read_config(logdir), checkpoints.pick(
      logdir, 'last')
  find = lambda: saved_model.evaluation(config, logdir, path, 0)
  text = f'{record(0, [1.0])}\n'
  log = logdir / evaluations.NAME
  # What came after the checkpoint may be of other weights, or cut off.
  log.write_text(text + record(0, [2.0])[:-5])
  facts = json.loads((path / checkpoints.FACTS).read_text())
  # Unless the checkpoint has the return of the evaluation that followed.
  for size, score, expected in (
      (0, None, None), (len(text), None, json.loads(text)),
      (0, 1.0, json.loads(text)), (len(text), 2.0, json.loads(text))):
    facts['logs'][evaluations.NAME], facts['return'] = size, score
    (path / checkpoints.FACTS).write_text(json.dumps(facts))
    files.write_checksums(path)
    assert find() == expected
  log.write_text(f'{record(1, [1.0])}\n')
  assert find() is None
  evaluated(
      logdir / 'evaluation-best', '--logdir', str(logdir), '--checkpoint',
      'last', '--seed', '7')
  assert find()['seed'] == 7


def test_foreign_models_are_refused(tmp_path, capsys):
  tf.saved_model.save(tf.Module(), str(tmp_path / 'foreign'))
  for name in ('foreign', 'missing'):
    error = refused(capsys, evaluate.main, '--saved_model', tmp_path / name)
    assert name in error


def test_places_in_use_are_refused(run, tmp_path, capsys):
  (tmp_path / 'notes.txt').write_text('mine')
  for out in (tmp_path, tmp_path / 'notes.txt'):
    error = refused(
        capsys, program.main, '--logdir', run, '--out', out)
    assert 'in use' in error
  assert (tmp_path / 'notes.txt').read_text() == 'mine'
  error = refused(
      capsys, program.main, '--logdir', tmp_path, '--out', tmp_path / 'new')
  assert not (tmp_path / 'new').exists() and 'holds no run' in error


def test_other_forms_lie_beside_it(run, tmp_path):
  assert runs.export(
      run, tmp_path / 'forms', '--formats', *program.FORMATS,
      '--batch', '3') == 0
  artifact.check(tmp_path / 'forms')
  found = {path.name for path in (tmp_path / 'forms').rglob('*')}
  assert {
      'policy.tflite', 'serving_default.mlirbc', 'train_step.mlirbc'} <= found


def test_forms_that_are_impossible_leave_nothing(dataset, tmp_path, capsys):
  logdir = runs.train(
      dataset, tmp_path / 'run', 'dreamerv2_offline', '--precision', '16')
  error = refused(
      capsys, program.main, '--logdir', logdir, '--out', tmp_path / 'out',
      '--formats', 'tflite')
  assert "precision '16'" in error
  assert sorted(x.name for x in tmp_path.iterdir()) == ['run']
