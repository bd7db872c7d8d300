"""Plays one episode with an exported policy: python examples/play.py DIR

It needs tensorflow, numpy and a simulator, here one of `envs`. With a robot
of your own, `image` comes from its camera and `action` goes to its motors.
"""

import json
import pathlib
import sys

import tensorflow as tf

from envs import worker

directory = pathlib.Path(sys.argv[1])
facts = json.loads((directory / 'metadata.json').read_text())
policy = tf.saved_model.load(str(directory)).signatures
with worker.Worker(
    facts['task'], seed=0, native=True, **facts['settings']) as env:
  obs, total = env.reset(), 0.0
  state = policy['initial_state'](batch=tf.constant(1))
  while not obs['is_last']:
    state = policy['serving_default'](
        image=tf.constant(obs['image'][None]),
        is_first=tf.constant(obs['is_first'][None]), **state)
    obs = env.step({'action': state.pop('action')[0].numpy()})
    total += obs['reward']
print(f'{facts["task"]}: return {total:.1f}')
