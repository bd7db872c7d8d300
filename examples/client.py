"""Plays one episode with a policy behind HTTP: python examples/client.py DIR

A server must be running: examples/serve.py, or TensorFlow Serving. Another
address than 127.0.0.1:8501 comes after DIR, of which only metadata.json is
read, to know the simulator. It needs numpy and `envs`.
"""

import http.client
import json
import pathlib
import sys

import numpy as np

from envs import worker


def predict(server, signature, **inputs):
  """Returns the outputs of a signature; arrays are nested lists."""
  server.request('POST', '/v1/models/policy:predict', json.dumps(
      {'signature_name': signature, 'inputs': inputs}))
  response = server.getresponse()
  answer = json.loads(response.read())
  if response.status != 200:
    raise ValueError(answer['error'])
  return answer['outputs']


def act(server, obs, state):
  """Returns the action for one observation and the next state."""
  outputs = predict(
      server, 'serving_default', image=[obs['image'].tolist()],
      is_first=[bool(obs['is_first'])], **state)
  return np.array(outputs.pop('action')[0]), outputs


if __name__ == '__main__':
  directory, address = (*sys.argv[1:], '127.0.0.1:8501')[:2]
  facts = json.loads(pathlib.Path(directory, 'metadata.json').read_text())
  server = http.client.HTTPConnection(address)
  with worker.Worker(
      facts['task'], seed=0, native=True, **facts['settings']) as env:
    obs, total = env.reset(), 0.0
    state = predict(server, 'initial_state', batch=1)
    while not obs['is_last']:
      action, state = act(server, obs, state)
      obs = env.step({'action': action})
      total += obs['reward']
  print(f'{facts["task"]}: return {total:.1f}')
