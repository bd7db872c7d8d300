"""Exported policies act as the agents they come from, and are checked."""

import json
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import envs
from coworld_tf import evaluate, inputs, methods
from coworld_tf.datasets import collect
from coworld_tf.export import __main__ as program
from coworld_tf.export import artifact, policy
from dreamerv2_base import agent, flags
from dreamerv2_base import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
EPISODE = 12
TASKS = '--source_task', 'dummy_2', '--target_task', 'dummy_2'
PADDED = '--source_task', 'dummy_3', '--target_task', 'dummy_2'
METHODS = {
    'coworld': PADDED, 'dreamerv2': ('--task', 'dummy_2'),
    'dreamerv2_offline': ('--target_task', 'dummy_2'),
    'offline_dv2': ('--target_task', 'dummy_2'),
    'dv2_finetune': PADDED, 'dv2_finetune_ewc': TASKS,
    'multi_source': (
        '--multi_source.candidates', 'dummy_2', 'dummy_3', '--target_task',
        'dummy_2')}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'dummy'
  assert collect.main([
      '--task', 'dummy_2', '--steps', '50', '--time_limit', '12',
      '--quality', 'fast', '--out', str(path)]) == 0
  return path


def train(dataset, logdir, method, *argv):
  """Leaves a run whose only checkpoint has the initial weights."""
  offline = () if method == 'dreamerv2' else ('--offline_dir', str(dataset))
  config = flags.parse([
      '--configs', method, 'debug', '--logdir', str(logdir), *offline,
      '--time_limit', '12', *METHODS[method], *argv], ROOT / 'configs')
  replay = inputs.open_dataset(config) if offline else None
  trainer = methods.build(config, logdir, replay)
  configs.save(config, logdir / 'config.yaml')
  trainer.save()
  return logdir


def export(logdir, out, *argv):
  return program.main([
      '--logdir', str(logdir), '--out', str(out), *map(str, argv)])


@pytest.fixture(scope='module')
def run(dataset, tmp_path_factory):
  """A run whose agent has three actions, for a target with two."""
  logdir = tmp_path_factory.mktemp('run')
  return train(dataset, logdir, 'dv2_finetune', '--compile', 'graph')


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
  out = tmp_path_factory.mktemp('exports') / 'policy'
  assert export(run, out) == 0
  return out


def live_agent(logdir):
  config = evaluate.checkpoints.read_config(logdir)
  args = evaluate.parse_arguments(['--logdir', str(logdir)])
  return evaluate.load(config, args)[0]


def differences(learner, signatures, batch, mode):
  """Largest difference of actions and states over episodes.

  Simulators see what the exported policy does. The first row ends early and
  begins again.
  """
  simulators = [
      envs.make('dummy_2', seed, time_limit=EPISODE - 4 * (seed == 0),
                native=True) for seed in range(batch)]
  live = agent.AgentPolicy(learner, 3, mode)
  step = signatures[artifact.SIGNATURES[mode]]
  state = signatures['initial_state'](batch=tf.constant(batch))
  obs, found, expected = [x.reset() for x in simulators], 0.0, None
  for index in range(EPISODE):
    now = {key: np.stack([x[key] for x in obs])
           for key in ('image', 'is_first')}
    if mode != 'mode':
      state['seed'] = tf.constant([3, index])
    state = step(**{key: tf.constant(x) for key, x in now.items()}, **state)
    action = state.pop('action')
    outputs, expected = live(now, expected)
    wide = outputs['action']
    pairs = [
        (action, wide[:, :2]), (state['last_action'], wide[:, :2]),
        *[(state[key], expected[0][key]) for key in ('deter', 'stoch')]]
    assert not wide[:, 2:].any()
    for ours, theirs in pairs:
      assert ours.dtype == tf.float32
      gap = np.asarray(ours, 'f8') - np.asarray(theirs, 'f8')
      found = max(found, np.abs(gap).max())
    obs = [
        x.reset() if last['is_last'] else x.step({'action': action[row]})
        for row, (x, last) in enumerate(zip(simulators, obs, strict=True))]
  return found


@pytest.mark.parametrize('method', METHODS)
def test_same_as_the_agent_of_the_run(dataset, tmp_path, method):
  logdir = train(dataset, tmp_path / 'run', method)
  assert export(logdir, tmp_path / 'policy') == 0
  loaded = tf.saved_model.load(str(tmp_path / 'policy'))
  learner = live_agent(logdir)
  for batch in (1, 2, 7):
    assert differences(learner, loaded.signatures, batch, 'mode') <= 1e-5
  assert differences(learner, loaded.signatures, 2, 'eval') <= 1e-5
  variables = sum(
      np.prod(x.shape) for x in loaded.signatures['evaluate'].variables)
  assert variables < sum(np.prod(x.shape) for x in learner.variables) / 2


def make_agent(*argv, space=BOX):
  config = flags.parse(
      ['--configs', 'debug', '--compile', 'graph', *argv], ROOT / 'configs')
  return agent.Agent(config, {'image': IMAGES}, space, 5)


def signatures(learner, directory, space=BOX):
  made = policy.Policy(learner, IMAGES, space)
  tf.saved_model.save(made.module(), str(directory), made.signatures())
  return tf.saved_model.load(str(directory)).signatures


@pytest.mark.parametrize('argv', [
    ('--rssm.discrete', '0'), ('--rssm.ensemble', '3'),
    ('--eval_state_mean', 'True', '--rssm.norm', 'layer'),
    ('--actor.dist', 'tanh_normal', '--expl_noise', '0.2')], ids=str)
@pytest.mark.parametrize('mode', ['mode', 'eval', 'train'])
def test_kinds_of_agents(tmp_path, argv, mode):
  learner = make_agent(*argv)
  loaded = signatures(learner, tmp_path)
  assert differences(learner, loaded, 2, mode) <= 1e-5


# Half a unit in the last place of numbers up to 1, which features are.
@pytest.mark.parametrize('precision, bound', [
    ('bfloat16', 2 ** -9), ('16', 2 ** -12)])
def test_sixteen_bits(tmp_path, precision, bound):
  learner = make_agent('--precision', precision)
  loaded = signatures(learner, tmp_path)
  assert differences(learner, loaded, 2, 'mode') <= bound
  state = loaded['initial_state'](batch=tf.constant(3))
  latent = {key: state[key] for key in ('deter', 'stoch')}
  for name in ('value', 'reconstruct'):
    assert {x.dtype for x in loaded[name](**latent).values()} == {tf.float32}


def step(signature, batch, images=0, seed=None, **state):
  seed = {} if seed is None else {'seed': tf.constant(seed)}
  rng = np.random.default_rng(images)
  return signature(
      image=tf.constant(rng.integers(0, 256, [batch, 64, 64, 3], 'u1')),
      is_first=tf.zeros([batch], bool), **state, **seed)


def test_actions_are_those_of_the_simulator(tmp_path):
  space = gymnasium.spaces.Box(
      np.float32([-2, 0, -np.inf]), np.float32([2, 1, np.inf]))
  unit = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
  loaded = signatures(make_agent(space=unit), tmp_path, space)
  state = loaded['initial_state'](batch=tf.constant(4))
  out = step(loaded['sample'], 4, seed=[1, 2], **state)
  unit = out['last_action'].numpy()
  assert np.unique(unit).size == 12 and np.abs(unit).max() < 1
  np.testing.assert_allclose(
      out['action'], unit * [2, 0.5, 1] + [0, 0.5, 0], atol=1e-6)


def test_choices_are_numbers(tmp_path):
  space = gymnasium.spaces.Discrete(3, start=5)
  loaded = signatures(make_agent(space=space), tmp_path, space)
  state = loaded['initial_state'](batch=tf.constant(20))
  out = step(loaded['sample'], 20, seed=[1, 2], **state)
  assert out['action'].dtype == tf.int64
  np.testing.assert_array_equal(
      out['action'], 5 + out['last_action'].numpy().argmax(-1))
  assert set(out['action'].numpy()) == {5, 6, 7}


def test_seeds_decide(tmp_path):
  loaded = signatures(make_agent(), tmp_path)
  state = loaded['initial_state'](batch=tf.constant(4))
  first, again, other = [
      step(loaded['sample'], 4, seed=seed, **state)['action'].numpy()
      for seed in ([1, 2], [1, 2], [1, 3])]
  np.testing.assert_array_equal(first, again)
  assert (first != other).all()


def test_value_and_reconstruction(tmp_path):
  learner = make_agent()
  loaded = signatures(learner, tmp_path)
  state = loaded['initial_state'](batch=tf.constant(3))
  state = step(loaded['sample'], 3, seed=[1, 2], **state)
  latent = {key: state[key] for key in ('deter', 'stoch')}
  feat = learner.wm.rssm.get_feat(latent)
  value = loaded['value'](**latent)['value']
  np.testing.assert_allclose(
      value, learner.ac.critic(feat).mode(), atol=1e-5)
  image = loaded['reconstruct'](**latent)['image'].numpy()
  assert image.shape == (3, 64, 64, 3)
  mean = learner.wm.heads['decoder'](feat)['image'].mean()
  np.testing.assert_allclose(image, np.clip(mean + 0.5, 0, 1), atol=1e-5)


def test_metadata(run, exported):
  facts = artifact.check(exported)
  config = evaluate.checkpoints.read_config(run)
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
  assert ours == theirs
  videos = [
      (tmp_path / name / 'videos' / 'episode-0.gif').read_bytes()
      for name in ('ours', 'theirs')]
  assert videos[0] == videos[1]


@pytest.fixture(scope='module')
def elsewhere(tmp_path_factory):
  """Runs programs that find the libraries and envs, but not this project."""
  place = tmp_path_factory.mktemp('elsewhere')
  shutil.copytree(ROOT / 'envs', place / 'envs')
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
  example = ROOT / 'examples' / 'play.py'
  assert len(example.read_text().splitlines()) <= 30
  found = elsewhere(example, exported)
  assert found.returncode == 0, found.stderr
  learner, total, state = live_agent(run), 0.0, None
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
      ROOT / 'coworld_tf' / 'export' / 'player.py', json.dumps(request))
  assert found.returncode == 0, found.stderr
  expected = evaluated(tmp_path / 'live', '--logdir', str(run))
  result = json.loads(found.stdout.strip())
  assert result['returns'] == expected['returns']


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


@pytest.mark.parametrize('version', [artifact.FORMAT - 1, None, 'x'])
def test_another_version_is_refused(copy, capsys, version):
  facts = json.loads((copy / artifact.METADATA).read_text())
  facts['format'] = version
  (copy / artifact.METADATA).write_text(json.dumps(facts))
  error = refused(capsys, evaluate.main, '--saved_model', copy)
  assert 'format version' in error and 'export the run again' in error


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
