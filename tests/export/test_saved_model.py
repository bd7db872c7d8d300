"""Exported policies act as the agents they come from."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import envs
from coworld_tf.export import artifact, policy
from dreamerv2_base import agent, flags
from tests.export import runs

IMAGES = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
EPISODE = 12


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


@pytest.mark.parametrize('method', runs.METHODS)
def test_same_as_the_agent_of_the_run(dataset, tmp_path, method):
  logdir = runs.train(dataset, tmp_path / 'run', method)
  assert runs.export(logdir, tmp_path / 'policy') == 0
  loaded = tf.saved_model.load(str(tmp_path / 'policy'))
  learner = runs.live_agent(logdir)
  for batch in (1, 2, 7):
    assert differences(learner, loaded.signatures, batch, 'mode') <= 1e-5
  assert differences(learner, loaded.signatures, 2, 'eval') <= 1e-5
  variables = sum(
      np.prod(x.shape) for x in loaded.signatures['evaluate'].variables)
  assert variables < sum(np.prod(x.shape) for x in learner.variables) / 2


def make_agent(*argv, space=BOX):
  argv = ['--configs', 'debug', '--compile', 'graph', *argv]
  config = flags.parse(argv, runs.ROOT / 'configs')
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


# Few units in the last place of numbers up to 1. Classes would flip on edges.
@pytest.mark.parametrize('precision, bound', [
    ('bfloat16', 2 ** -7), ('16', 2 ** -9)])
def test_sixteen_bits(tmp_path, precision, bound):
  learner = make_agent('--precision', precision, '--rssm.discrete', '0')
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


def test_rounding_stays_within_the_bounds(tmp_path):
  low = np.random.default_rng(0).uniform(-5, 5, 50).astype('f4')
  space = gymnasium.spaces.Box(low, low + np.float32(0.7))
  unit = gymnasium.spaces.Box(-1, 1, space.shape, np.float32)
  exported = policy.Policy(make_agent(space=unit), IMAGES, space)
  for end in (-1.0, 1.0):
    assert space.contains(exported._native(tf.fill([50], end)).numpy())


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
