"""The policy in TensorFlow Lite acts as the agent, in LiteRT."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter

from coworld_tf.export import policy, tflite
from dreamerv2_base import agent

IMAGES = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
# The simulator has two of the agent's three actions.
SPACE = gymnasium.spaces.Box(-2, 3, (2,), np.float32)
WIDE = gymnasium.spaces.Box(np.float32([-1, -1, 0]), np.float32([1, 1, 0]))
CHOICES = gymnasium.spaces.Discrete(3, start=1)
BOUND = 1e-5
KINDS = {
    'default': {},
    'gaussian': {'rssm.discrete': 0, 'actor.dist': 'normal'},
    'ensemble': {
        'rssm.ensemble': 3, 'rssm.norm': 'layer', 'encoder.norm': 'layer',
        'actor.norm': 'layer', 'eval_noise': 0.2},
    'choices': {}}


@pytest.fixture(scope='module')
def make(make_config, tmp_path_factory):
  """Saves an untrained policy; returns agent, policy and folder."""
  def function(override=None, choices=False):
    config = make_config(override, {})
    learner = agent.Agent(
        config, {'image': IMAGES}, CHOICES if choices else WIDE, 5)
    made = policy.Policy(learner, IMAGES, CHOICES if choices else SPACE)
    directory = tmp_path_factory.mktemp('policy')
    tf.saved_model.save(made.module(), str(directory), made.signatures())
    return learner, made, directory
  return function


def gap(ours, theirs):
  return np.abs(np.asarray(ours, 'f8') - np.asarray(theirs, 'f8')).max()


def differences(lite, learner, made, batch):
  """Largest difference of actions, states and values over two episodes."""
  step, start, value = [
      lite.get_signature_runner(key) for key in tflite.SIGNATURES]
  rng, found = np.random.default_rng(batch), 0.0
  state, live = start(batch=np.int32(batch)), learner.initial(batch)
  for index in range(12):
    obs = {'image': rng.integers(0, 256, [batch, 64, 64, 3], 'u1'),
           'is_first': np.full([batch], index == 0)}
    obs['is_first'][0] |= index == 7
    state = step(**obs, **state)
    action = state.pop('action')
    wide, live = learner.policy(obs, live, tf.constant([0, 0]), 'mode')
    expected = made._state(live[0], wide)
    assert set(state) == set(expected)
    latent = {key: state[key] for key in ('deter', 'stoch')}
    pairs = [
        (action, made._native(expected['last_action'])),
        *[(state[key], expected[key]) for key in state],
        (value(**latent)['value'], made.value(**latent)['value'])]
    found = max(found, *[gap(*pair) for pair in pairs])
  return found


@pytest.mark.parametrize('kind', KINDS)
def test_acts_as_the_agent(make, kind):
  learner, made, directory = make(KINDS[kind], kind == 'choices')
  tflite.check(learner.config)
  tflite.write(directory)
  lite = interpreter.Interpreter(str(directory / tflite.NAME))
  assert sorted(lite.get_signature_list()) == sorted(tflite.SIGNATURES)
  for batch in (1, 7, 2):
    assert differences(lite, learner, made, batch) <= BOUND


@pytest.mark.parametrize('key, value, reason, operation', [
    ('precision', 'bfloat16', "operations for precision 'bfloat16'", 'MatMul'),
    ('actor.dist', 'tanh_normal', 'no random numbers', 'Ndtri')])
def test_refuses_what_the_runtime_lacks(
    make, capfd, key, value, reason, operation):
  learner, _, directory = make({key: value})
  with pytest.raises(ValueError, match=reason) as info:
    tflite.check(learner.config)
  assert str(info.value).startswith('tflite: ') and '\n' not in str(info.value)
  before = sorted(directory.rglob('*'))
  capfd.readouterr()
  with pytest.raises(ValueError, match='lacks the operations') as info:
    tflite.write(directory)
  assert operation in str(info.value) and '\n' not in str(info.value)
  assert sorted(directory.rglob('*')) == before
  assert 'error' not in capfd.readouterr().err
