"""Exported policies behind a model server: the command line tool and HTTP."""

import ast
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import runpy
import socket
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import envs
from coworld_tf.export import policy, saved_model
from dreamerv2_base import agent

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / 'examples'
CLIENT = runpy.run_path(str(EXAMPLES / 'client.py'))
IMAGE = np.full([1, 64, 64, 3], 7).tolist()
STATE = {
    'deter': np.zeros([1, 8]).tolist(), 'stoch': np.zeros([1, 4, 4]).tolist(),
    'last_action': [[0.0, 0.0]]}
STEP = {'image': IMAGE, 'is_first': [True], **STATE}


@pytest.fixture(scope='module')
def live(make_config):
  config = make_config({'compile': 'graph'}, {})
  images = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
  space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
  return agent.Agent(config, {'image': images}, space)


@pytest.fixture(scope='module')
def folder(live, tmp_path_factory):
  images = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
  space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
  exported = policy.Policy(live, images, space)
  path = tmp_path_factory.mktemp('exported')
  saved_model.write(path, exported, {'task': 'dummy_2', 'settings': {}})
  return path


@contextlib.contextmanager
def running(folder, address):
  """The example server in its own process, started for any free port."""
  process = subprocess.Popen(
      [sys.executable, str(EXAMPLES / 'serve.py'), str(folder), address],
      stdout=subprocess.PIPE, text=True)
  try:
    yield process.stdout.readline().split('/')[2]
  finally:
    process.terminate()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope='module')
def address(folder):
  with running(folder, '127.0.0.1:0') as address:
    yield address


@pytest.fixture
def server(address):
  with contextlib.closing(http.client.HTTPConnection(address)) as server:
    yield server


def ask(server, method, path, body=None):
  """Status and parsed answer."""
  server.request(method, path, body)
  response = server.getresponse()
  return response.status, json.loads(response.read())


def post(server, body):
  text = body if isinstance(body, (str, bytes)) else json.dumps(body)
  return ask(server, 'POST', '/v1/models/policy:predict', text)


def act(live, obs, state):
  """A step of the live agent for one observation."""
  obs = {key: obs[key][None] for key in ('image', 'is_first')}
  action, state = live.policy(obs, state, tf.constant([0, 0]), 'mode')
  return action.numpy()[0], state


def test_command_line_tool_shows_and_runs(live, folder, tmp_path):
  tool = pathlib.Path(sys.executable).with_name('saved_model_cli')
  run = lambda command, *flags: subprocess.run(
      [tool, command, '--dir', folder, '--tag_set', 'serve',
       '--signature_def', 'serving_default', *flags],
      capture_output=True, text=True, check=True).stdout
  shown = run('show')
  assert 'Method name is: tensorflow/serving/predict' in shown
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, [3, 64, 64, 3], np.uint8)
  first = np.array([False, True, False])
  state = {
      'deter': rng.normal(size=[3, 8]),
      'stoch': np.eye(4)[rng.integers(4, size=[3, 4])],
      'last_action': rng.uniform(-1, 1, [3, 2])}
  inputs = {'image': image, 'is_first': first, **{
      key: x.astype(np.float32) for key, x in state.items()}}
  for name in inputs:
    assert f"inputs['{name}'] tensor_info" in shown
  np.savez(tmp_path / 'in.npz', **inputs)
  run('run', '--outdir', tmp_path, '--inputs', ';'.join(
      f'{name}={tmp_path}/in.npz[{name}]' for name in inputs))
  latent = {key: inputs[key] for key in ('deter', 'stoch')}
  state = {**live.initial(3)[0], **latent}, inputs['last_action']
  state = tf.nest.map_structure(tf.constant, state)
  action, (latent, _) = live.policy(
      {'image': image, 'is_first': first}, state, tf.constant([0, 0]), 'mode')
  for name, value in {
      'action': action, 'last_action': action, 'deter': latent['deter'],
      'stoch': latent['stoch']}.items():
    found = np.load(tmp_path / f'{name}.npy')
    np.testing.assert_allclose(found, value, rtol=0, atol=1e-5)
  assert np.abs(action).max() > 0.01


def test_episode_over_http_is_that_of_the_agent(
    live, folder, address, server):
  env = envs.make('dummy_2', seed=0, native=True)
  obs, total, state, own = env.reset(), 0.0, None, live.initial(1)
  state = CLIENT['predict'](server, 'initial_state', batch=1)
  while not obs['is_last']:
    action, state = CLIENT['act'](server, obs, state)
    expected, own = act(live, obs, own)
    np.testing.assert_allclose(action, expected, rtol=0, atol=1e-5)
    for key in ('deter', 'stoch'):
      np.testing.assert_allclose(state[key], own[0][key], rtol=0, atol=1e-5)
    obs = env.step({'action': action})
    total += obs['reward']
  program = subprocess.run(
      [sys.executable, str(EXAMPLES / 'client.py'), str(folder), address],
      env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True,
      text=True, check=True)
  assert program.stdout == f'dummy_2: return {total:.1f}\n'


def test_clients_do_not_disturb_each_other(live, address):
  def play(seed):
    rng, own, found = np.random.default_rng(seed), live.initial(1), []
    with contextlib.closing(http.client.HTTPConnection(address)) as server:
      state = CLIENT['predict'](server, 'initial_state', batch=1)
      for index in range(20):
        obs = {
            'image': rng.integers(0, 256, [64, 64, 3], np.uint8),
            'is_first': np.array(index == 0)}
        action, state = CLIENT['act'](server, obs, state)
        expected, own = act(live, obs, own)
        found.append(np.abs(action - expected).max())
    return max(found)

  with concurrent.futures.ThreadPoolExecutor(4) as executor:
    assert max(executor.map(play, range(4))) < 1e-5


def test_forms_that_tensorflow_serving_documents(live, server):
  status, answer = post(server, {'inputs': STEP})
  assert status == 200
  outputs = answer['outputs']
  assert sorted(outputs) == ['action', 'deter', 'last_action', 'stoch']
  # Whole numbers for floats; an exponent; the default by its name.
  text = json.dumps({'signature_name': 'serving_default', 'inputs': {
      **STEP, 'deter': [[0] * 8], 'last_action': [[0, '@']]}})
  assert post(server, text.replace('"@"', '0e-3')) == (200, answer)
  # One named input or output may come, or comes, without its name.
  request = {'signature_name': 'initial_state', 'inputs': {'batch': 2}}
  assert post(server, {**request, 'inputs': 2}) == post(server, request)
  latent = {key: outputs[key] for key in ('deter', 'stoch')}
  _, answer = post(server, {'signature_name': 'value', 'inputs': latent})
  feat = live.wm.rssm.get_feat({
      key: tf.constant(x, tf.float32) for key, x in latent.items()})
  np.testing.assert_allclose(
      answer['outputs'], live.ac.critic(feat).mode(), atol=1e-5)
  for seed in ([0, 0], [0, 1]):
    request = {'signature_name': 'sample', 'inputs': {**STEP, 'seed': seed}}
    first, second = [post(server, request)[1]['outputs'] for _ in 'ab']
    assert first == second
    assert first['action'] != outputs['action']
  assert ask(server, 'GET', '/v1/models/policy') == (200, {
      'model_version_status': [{
          'version': '1', 'state': 'AVAILABLE',
          'status': {'error_code': 'OK', 'error_message': ''}}]})


def less(name):
  return {key: value for key, value in STEP.items() if key != name}


@pytest.mark.parametrize('body, message', [
    ('', 'Expecting value: line 1 column 1 (char 0)'),
    ('{"inputs": ', 'Expecting value: line 1 column 12 (char 11)'),
    (b'\xff\xfe{', 'codec can'), ('[' * 100000, 'recursion'),
    ('7', "an object with 'inputs'"), ('{"a": 1}', "an object with 'inputs'"),
    ({'instances': [STEP]}, "an object with 'inputs'"),
    ({'inputs': None}, "must be an object with ['deter', 'image'"),
    ({'inputs': [1]}, "must be an object with ['deter', 'image'"),
    ({'inputs': less('stoch')}, "must be an object with ['deter', 'image'"),
    ({'inputs': {**STEP, 'seed': [0, 0]}}, "'last_action', 'stoch']"),
    ({'inputs': STEP, 'signature_name': 'x'}, "one of ['evaluate', "),
    ({'inputs': STEP, 'signature_name': ['x']}, "one of ['evaluate', "),
    ({'inputs': STEP, 'signature_name': None}, "one of ['evaluate', "),
    ({'inputs': {**STEP, 'is_first': [1]}},
     "'is_first' must be bool [None], is int64 [1]"),
    ({'inputs': {**STEP, 'is_first': []}},
     "'is_first' must be bool [None], is float64 [0]"),
    ({'inputs': {**STEP, 'is_first': True}}, 'is bool []'),
    ({'inputs': {**STEP, 'is_first': [True, False]}},
     "'inputs' are for several batch sizes: [1, 2]"),
    ({'inputs': {**STEP, 'image': IMAGE[0]}},
     "'image' must be uint8 [None, 64, 64, 3], is int64 [64, 64, 3]"),
    ({'inputs': {**STEP, 'image': np.full([1, 64, 64, 3], 0.5).tolist()}},
     'is float64 [1, 64, 64, 3]'),
    ({'inputs': {**STEP, 'image': np.full([1, 64, 64, 3], 256).tolist()}},
     'cannot hold all of its numbers'),
    ({'inputs': {**STEP, 'image': np.full([1, 64, 64, 3], -1).tolist()}},
     'cannot hold all of its numbers'),
    ({'inputs': {**STEP, 'image': {'b64': 'AAAA'}}}, 'is object []'),
    ({'inputs': {**STEP, 'deter': [['a'] * 8]}}, 'is <U1 [1, 8]'),
    ({'inputs': {**STEP, 'deter': [[None] * 8]}}, 'is object [1, 8]'),
    ({'inputs': {**STEP, 'deter': [[2 ** 70] * 8]}}, 'is object [1, 8]'),
    ({'inputs': {**STEP, 'deter': [[1e39] * 8]}},
     'cannot hold all of its numbers'),
    ({'inputs': {**STEP, 'deter': [[0.0] * 8, [0.0] * 7]}},
     "'deter' must be float32 [None, 8], is ragged"),
    ({'inputs': {'batch': 0}, 'signature_name': 'initial_state'},
     "'batch' must be from 1 to 1024, is 0"),
    ({'inputs': {'batch': 10 ** 9}, 'signature_name': 'initial_state'},
     "'batch' must be from 1 to 1024, is 1000000000"),
    ({'inputs': {'batch': 2 ** 32 + 1}, 'signature_name': 'initial_state'},
     'cannot hold all of its numbers'),
    ({'inputs': 'many', 'signature_name': 'initial_state'},
     "'batch' must be int32 [], is <U4 []"),
])
def test_wrong_requests_are_refused(server, body, message):
  status, answer = post(server, body)
  assert status == 400 and list(answer) == ['error']
  assert message in answer['error'] and '\n' not in answer['error']
  assert len(answer['error']) < 200
  assert post(server, {'inputs': STEP})[0] == 200


@pytest.mark.parametrize('method, path, status', [
    ('GET', '/', 404), ('GET', '/v1/models/other', 404),
    ('GET', '/v1/models/policy:predict', 404),
    ('POST', '/v1/models/policy', 404),
    ('POST', '/v1/models/policy:classify', 404),
    ('PUT', '/v1/models/policy', 501)])
def test_what_is_not_there(server, method, path, status):
  found, answer = ask(server, method, path, '{}')
  assert found == status and list(answer) == ['error']
  assert ask(server, 'GET', '/v1/models/policy')[0] == 200


@pytest.mark.parametrize('header', [
    'Content-Length: 16777217', 'Content-Length: -1', 'Content-Length: x',
    'Content-Length: 1' + '0' * 5000, 'Transfer-Encoding: chunked',
    'no header'])
def test_bodies_of_unknown_or_giant_size_are_not_read(address, header):
  host, port = address.split(':')
  with socket.create_connection((host, int(port)), timeout=30) as connection:
    lines = 'POST /v1/models/policy:predict HTTP/1.1', header, '', ''
    connection.sendall('\r\n'.join(lines).encode())
    with connection.makefile('rb') as file:
      answer = file.read()
  head, _, body = answer.partition(b'\r\n\r\n')
  assert head.startswith(b'HTTP/1.1 400 ') and b'\n' not in body
  assert list(json.loads(body)) == ['error']


def test_server_needs_nothing_of_this_project():
  tree = ast.parse((EXAMPLES / 'serve.py').read_text())
  names = {
      alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
      for alias in node.names}
  assert names == {'http.server', 'json', 'sys', 'numpy', 'tensorflow'}
  assert not any(isinstance(x, ast.ImportFrom) for x in ast.walk(tree))
