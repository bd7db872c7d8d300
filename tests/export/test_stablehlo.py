"""Functions in StableHLO do what TensorFlow does, without TensorFlow."""

import json
import pathlib
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import pair, sources
from coworld_tf.baselines import alone
from coworld_tf.export import artifact, policy, stablehlo
from dreamerv2_base import agent

SCRIPT = (
    pathlib.Path(__file__).parents[2] / 'examples' / 'run_stablehlo.py')
IMAGES = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
# The simulator has two of the agent's three actions.
SPACE = gymnasium.spaces.Box(-2, 3, (2,), np.float32)
WIDE = gymnasium.spaces.Box(np.float32([-1, -1, 0]), np.float32([1, 1, 0]))
CHOICES = gymnasium.spaces.Discrete(3, start=1)
# Of 16 bits, where continuous states differ by roundings of their own.
BOUND, COARSE = 1e-5, 0.05
POLICIES = [
    ('sample', {}), ('serving_default', {'rssm.discrete': 0}),
    ('evaluate', {'rssm.ensemble': 3, 'eval_noise': 0.1}),
    ('sample', {'actor.dist': 'tanh_normal', 'actor.norm': 'layer'}),
    ('evaluate', 'choices'),
    ('evaluate', {'precision': 'bfloat16', 'rssm.discrete': 0})]


def make_agent(make_config, override, space=WIDE, seed=5):
  config = make_config(
      {'compile': 'graph', 'dataset.batch': 2, 'dataset.length': 4,
       **override}, {})
  return agent.Agent(config, {'image': IMAGES}, space, seed)


def run(path, rows):
  """Calls an exported function where only jaxlib can be imported."""
  np.savez(path.with_suffix('.in.npz'), **rows)
  others = 'tensorflow', 'jax', 'coworld_tf', 'dreamerv2_base', 'envs'
  code = (
      'import runpy, sys\n'
      f'sys.modules.update(dict.fromkeys({others}))\n'
      'runpy.run_path(sys.argv.pop(1))')
  out = path.with_suffix('.out.npz')
  subprocess.run(
      [sys.executable, '-c', code, SCRIPT, path, path.with_suffix('.in.npz'),
       out], check=True, cwd=path.parent)
  return dict(np.load(out))


def gap(ours, theirs):
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
  return np.abs(ours.astype('f8') - theirs.astype('f8')).max()


@pytest.mark.parametrize('name, kind', POLICIES, ids=str)
def test_policy_acts_as_the_agent(tmp_path, make_config, name, kind):
  choices = kind == 'choices'
  learner = make_agent(
      make_config, {} if choices else kind, CHOICES if choices else WIDE)
  made = policy.Policy(learner, IMAGES, CHOICES if choices else SPACE)
  stablehlo.write_policy(tmp_path / 'stablehlo', made, 2)
  mode = {x: mode for mode, x in artifact.SIGNATURES.items()}[name]
  rng = np.random.default_rng(0)
  rows = {'image': rng.integers(0, 256, [12, 2, 64, 64, 3], 'u1'),
          'is_first': np.zeros([12, 2], bool),
          'seed': rng.integers(0, 100, [12, 2], 'i4')}
  rows['is_first'][0] = rows['is_first'][7, 0] = True
  found = run(tmp_path / 'stablehlo' / f'{name}.json', {
      key: x for key, x in rows.items() if key != 'seed' or mode != 'mode'})
  live, actions = learner.initial(2), []
  for image, is_first, seed in zip(*rows.values(), strict=True):
    obs = {'image': image, 'is_first': is_first}
    wide, live = learner.policy(obs, live, tf.constant(seed), mode)
    actions.append(made._native(wide[:, :made.size]))
  expected = {**made._state(live[0], wide), 'action': actions}
  assert set(found) == set(expected)
  bound = COARSE if 'precision' in kind else BOUND
  assert max(gap(found[key], expected[key]) for key in expected) <= bound


def make_learner(make_config, method):
  if method == 'dreamerv2':
    # With a schedule, and with gradients for all of the model.
    return alone.Online(make_agent(make_config, {
        'actor_ent': 'linear(1,0,20)', 'pred_discount': True, 'kl.free': 0,
        'rssm.discrete': 0}))
  source, target = [make_agent(make_config, {}, seed=seed) for seed in (1, 2)]
  return pair.CoWorldPair(target.config, source, target, 10)


@pytest.mark.parametrize('method', ['coworld', 'dreamerv2'])
def test_training_step_is_that_of_the_learner(
    tmp_path, make_config, make_batch, method):
  learner = make_learner(make_config, method)
  stablehlo.write_train_step(tmp_path / 'stablehlo', learner, IMAGES)
  trained = learner.target or learner.sources[0]
  batches = [make_batch(3, seed, 2, 4, True) for seed in range(3)]
  path = tmp_path / 'stablehlo' / 'train_step.json'
  found = run(path, {
      key: np.stack([x[key] for x in batches]) for key in batches[0]})
  train = learner.train_target if learner.target else trained.train
  metrics = []
  for batch in batches:
    metrics.append(train(batch))
    trained.step.assign_add(trained.config.train_every)
  for key in metrics[0]:
    expected = np.float32([x[key] for x in metrics])
    np.testing.assert_allclose(found.pop(key), expected, 1e-4, 1e-5)
  variables = {
      name: ref.deref() for ref, name in stablehlo.paths(learner).items()}
  start = np.load(path.with_suffix('.npz'))
  for name, value in found.items():
    if '/last/' in name:  # Squares of gradients, which may be large.
      np.testing.assert_allclose(value, variables[name], 1e-4, BOUND)
    else:
      assert gap(value, variables[name]) <= BOUND, name
  # All that an update changes is passed on, and nothing of the source.
  changed = {name for name, x in variables.items()
             if name in start and gap(start[name], x)}
  prefix = 'target/' if learner.target else 'sources/0/'
  assert changed <= set(found) and all(x.startswith(prefix) for x in found)
  assert f'{prefix}step' in changed and f'{prefix}updates' in changed
  parts = 'wm/encoder', 'wm/opt', 'ac/actor', 'ac/slow_critic', 'ac/critic_opt'
  for part in parts:
    assert any(x.startswith(prefix + part) for x in changed), part


def test_files_say_what_a_caller_needs(tmp_path, make_config):
  made = policy.Policy(make_agent(make_config, {}), IMAGES, SPACE)
  stablehlo.write_policy(tmp_path, made, 3)
  facts = json.loads((tmp_path / 'sample.json').read_text())
  values = np.load(tmp_path / facts['values'])
  given = {x['name']: (x['dtype'], x['shape']) for x in facts['inputs']
           if x['name'] not in values}
  assert given == {
      'image': ('uint8', [3, 64, 64, 3]), 'is_first': ('bool', [3]),
      'seed': ('int32', [2])}
  assert {x['name']: x.get('next') for x in facts['outputs']} == {
      'action': None, 'deter': 'deter', 'stoch': 'stoch',
      'last_action': 'last_action'}
  assert {x['name'] for x in facts['inputs']} - set(given) <= set(values)
  code = (tmp_path / facts['module']).read_bytes()
  assert b'StableHLO_v1.0.0' in code[:40]
  # Nothing about the machine that wrote it.
  assert not any(x in code for x in (b'site-packages', b'export'))


@pytest.mark.parametrize('function, reason', [
    (lambda x: tf.strings.as_string(x), 'AsString'),
    (lambda x: tf.linalg.qr(x)[0], 'StableHLO lacks custom_call @Product'),
    (lambda x: tf.math.tan(x), 'lacks one of the operations')])
def test_refuses_what_has_no_stablehlo(tmp_path, capfd, function, reason):
  spec = tf.TensorSpec([2, 2], tf.float32)
  with pytest.raises(ValueError, match=reason) as info:
    stablehlo._write(
        tmp_path, 'name', lambda x: {'y': function(x)}, {'x': spec}, {})
  message = str(info.value)
  assert message.startswith('stablehlo: name: ') and '\n' not in message
  assert not list(tmp_path.iterdir())
  assert 'legalize' not in capfd.readouterr().err


def test_refuses_a_choice_at_each_step(tmp_path, make_config):
  override = {'multi_source.reselect': 'step'}
  agents = [make_agent(make_config, override, seed=seed) for seed in range(3)]
  learner = sources.MultiSource(
      agents[0].config, agents[1:], agents[0], 10)
  with pytest.raises(ValueError, match='outside of the graph'):
    stablehlo.write_train_step(tmp_path / 'out', learner, IMAGES)
  assert not (tmp_path / 'out').exists()
