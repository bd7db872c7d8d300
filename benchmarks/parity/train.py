"""Trains one agent on a fixed dataset and writes its learning curves.

A part of `benchmarks.parity.learning`, which starts one process per run.
"""

import argparse
import collections
import json
import pathlib
import sys

import gymnasium
import numpy as np

from benchmarks import official
from dreamerv2_base import files, flags, logger, progress, replay

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / 'configs'
OVERLAYS = 'dmc', 'small'
# Metric of a curve -> its names.
METRICS = {  # Here, official.
    'image': ('image_loss', 'image_loss'),
    'reward': ('reward_loss', 'reward_loss'),
    'kl': ('kl', 'model_kl'),
    'value': ('critic', 'critic'),
    'return': ('imag_return', 'critic_target'),
}
# The official one knows float32 on CPUs only.
PRECISIONS = {'here': '32', 'official': '32', 'here-bfloat16': 'bfloat16'}
EVERY = 20  # Updates whose mean is one point of a curve.


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.parity.train',
      description=__doc__.split('\n')[0])
  parser.add_argument(
      '--agent', choices=[*PRECISIONS], required=True,
      help='the agent of this project, also in bfloat16, or the official one')
  parser.add_argument(
      '--seed', type=int, required=True,
      help='of batches, and here of weights and noise')
  parser.add_argument(
      '--data', type=pathlib.Path, required=True, help='dataset to learn from')
  parser.add_argument(
      '--updates', type=int, required=True, help='number of updates')
  parser.add_argument(
      '--out', type=pathlib.Path, required=True, help='JSON file to write')
  args = parser.parse_args(argv)
  logger.setup_terminal('benchmarks', 'dreamerv2_base')
  upstream = args.agent == 'official'
  build = theirs if upstream else ours
  config = flags.parse([
      '--configs', *OVERLAYS, '--seed', str(args.seed), '--precision',
      PRECISIONS[args.agent]], CONFIGS)
  data = replay.Replay(args.data)
  update, points = None, collections.defaultdict(list)
  bar = progress.Progress(args.updates, f'{args.agent} {args.seed}')
  for index in range(args.updates):
    # The same seed gives both agents the same batches.
    batch = data.sample(
        *config.dataset.values(), np.random.default_rng([args.seed, index]))
    update = update or build(config, batch)
    metrics = update(batch)
    for name, names in METRICS.items():
      points[name].append(float(metrics[names[upstream]]))
    bar.update()
  bar.close()
  curves = {
      name: np.reshape(values, [-1, EVERY]).mean(1).tolist()
      for name, values in points.items()}
  with files.replacing(args.out) as temporary:
    temporary.write_text(json.dumps(curves))
  return 0


def spaces(batch):
  """Returns the spaces of images and actions of a batch."""
  shape, size = batch['image'].shape[2:], batch['action'].shape[-1]
  return (
      {'image': gymnasium.spaces.Box(0, 255, shape, np.uint8)},
      gymnasium.spaces.Box(-1, 1, (size,), np.float32))


def ours(config, batch):
  """Builds the agent of this project; returns its update."""
  import tensorflow as tf

  from dreamerv2_base import agent
  learner = agent.Agent(config, *spaces(batch), config.seed)
  return lambda batch: learner.train(
      {key: tf.constant(x) for key, x in batch.items()})


def theirs(config, batch):
  """Builds the official agent; returns its update."""
  agent, common = official.load()
  import tensorflow as tf
  # No tf.random.set_seed, as upstream: it would give every step of a sequence
  # the same noise, because the steps are calls of one traced function.
  obs_space, act_space = spaces(batch)
  learner = agent.Agent(
      official.config(common, config), obs_space, {'action': act_space}, 0)
  return lambda batch: learner.train(
      {key: tf.constant(x) for key, x in batch.items()})[1]


if __name__ == '__main__':
  sys.exit(main())
