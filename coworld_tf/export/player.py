"""Plays episodes with an exported policy, far from what trained it.

A program by itself, which `python -m coworld_tf.evaluate --saved_model` runs:
it needs tensorflow, numpy and envs, and could not import anything else of this
project. Its argument is a JSON object:

    saved_model  folder of the policy
    signature    evaluate, sample or serving_default
    episodes     number of episodes
    envs         simulators side by side
    seed         of simulators and policy
    videos       number of episodes whose images are kept
    out          folder for the images, image-<number>.npy, and at the end
                 result.json with returns, lengths and successes, see
                 `envs.evaluation`

Each episode gives a line `episode` on standard output.
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

from envs import evaluation, worker


class Policy:
  """A loaded SavedModel as a policy for drivers."""

  def __init__(self, directory, signature, seed):
    self._signatures = tf.saved_model.load(str(directory)).signatures
    self._step, self._seed = self._signatures[signature], seed
    self._seeded = 'seed' in self._step.structured_input_signature[1]
    self._calls = 0

  def __call__(self, obs, state):
    """Maps stacked observations [n, ...] to actions and the next state."""
    if state is None:
      count = tf.constant(len(obs['is_first']))
      state = self._signatures['initial_state'](batch=count)
    if self._seeded:
      state['seed'] = tf.constant([self._seed, self._calls])
    self._calls += 1
    state = self._step(
        image=tf.constant(obs['image']),
        is_first=tf.constant(obs['is_first']), **state)
    return {'action': state.pop('action').numpy()}, state


def main(
    saved_model, signature, episodes, envs, seed, videos, out):
  """Plays; see above."""
  saved_model, out = pathlib.Path(saved_model), pathlib.Path(out)
  facts = json.loads((saved_model / 'metadata.json').read_text())
  numbers = iter(range(videos))

  def show(episode, _):
    number = next(numbers, None)
    if number is not None:
      np.save(out / f'image-{number}.npy', episode['image'])
    print('episode', flush=True)

  result = evaluation.evaluate(
      lambda seed: worker.RestartingWorker(
          facts['task'], seed=seed, native=True, **facts['settings']),
      lambda _: Policy(saved_model, signature, seed),
      episodes, envs, seed, [show])
  del result['video']
  (out / 'result.json').write_text(json.dumps(result))


if __name__ == '__main__':
  # From here on nothing of the training code can be imported.
  sys.modules.update(coworld_tf=None, dreamerv2_base=None)
  main(**json.loads(sys.argv[1]))
