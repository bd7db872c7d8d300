"""A contender of benchmarks.train_step: a process that works when told.

  python -m benchmarks.train_step.contender dreamerv2 --configs small

Each line of its input, such as ["update", 2], names a step and how often to
make it. It answers with a line of JSON: seconds of processors and of the clock
for each, how often TensorFlow traced it, and peak memory in megabytes.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import gymnasium
import numpy as np

from benchmarks import floor, official, replay
from coworld_tf import cli
from dreamerv2_base import flags, precision
from dreamerv2_base import replay as stored

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / 'configs'
IMAGES = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
ACTIONS = gymnasium.spaces.Box(-1, 1, (6,), np.float32)


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.train_step.contender', allow_abbrev=False,
      description=__doc__.split('\n')[0])
  add = parser.add_argument
  add('--data', type=pathlib.Path, help='dataset to sample from, else noise')
  add('--sources', type=int, default=3, help='of the multi-source updates')
  add('kind', choices=KINDS, help='what to do')
  add('flags', nargs=argparse.REMAINDER, help='configuration, as of train.py')
  args = parser.parse_args(argv)
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # What libraries print is no answer.
  with cli.input_errors():
    config = precision.settled(flags.parse(args.flags, CONFIGS))
  steps = KINDS[args.kind](config, Batches(config, args.data), args.sources)
  for line in sys.stdin:
    name, count = json.loads(line)
    step, functions, share = steps[name]
    answer = timed(step, count, share)
    answer['traces'] = sum(
        x.experimental_get_tracing_count() for x in functions)
    answer['peak_mb'] = round(replay.resident('VmHWM') / 1e6)
    print(json.dumps(answer), file=answers, flush=True)
  return 0


def timed(step, count, share):
  """Makes a step some times; returns seconds per step, times the share."""
  cpu, wall = time.process_time(), time.perf_counter()
  for _ in range(count):
    finish(step())
  spent = time.process_time() - cpu, time.perf_counter() - wall
  return {
      key: share * seconds / count
      for key, seconds in zip(('cpu', 'wall'), spent, strict=True)}


def finish(outputs):
  """Waits for what a step gives, which devices may compute later."""
  import tensorflow as tf
  for x in tf.nest.flatten(outputs)[:1]:
    x.numpy()


class Batches:
  """Gives batches: always the same noise, or samples of a dataset."""

  def __init__(self, config, directory=None):
    """Draws the noise, or opens the dataset."""
    import tensorflow as tf
    self.shape = tuple(config.dataset.values())
    if directory:
      self._samples = iter(stored.Replay(directory).dataset(
          *self.shape, seed=0, prefetch=2))
      return
    rng, rows = np.random.default_rng(0), list(self.shape)
    batch = {
        'image': rng.integers(0, 256, [*rows, *IMAGES.shape], np.uint8),
        'action': rng.uniform(-1, 1, [*rows, *ACTIONS.shape]),
        'reward': rng.uniform(0, 1, rows),
        **{f'is_{key}': np.zeros(rows, bool)
           for key in ('first', 'last', 'terminal')}}
    self._samples = None
    self.noise = {
        key: tf.constant(x, tf.float32 if x.dtype == np.float64 else None)
        for key, x in batch.items()}

  def __call__(self):
    """Returns a dict of [B, L, ...] tensors."""
    return next(self._samples) if self._samples else self.noise


def official_agent(config, batches, sources):
  """Returns the update of the official agent."""
  modules, common = official.load()
  learner = modules.Agent(
      official.config(common, config), {'image': IMAGES},
      {'action': ACTIONS}, 0)
  state = [None]

  def update():
    state[0], metrics = learner.train(batches(), state[0])
    return metrics
  return {'update': (update, [learner.train], 1)}


def make_agents(config, count):
  """Returns agents that differ in their seeds."""
  from dreamerv2_base import agent
  return [
      agent.Agent(config, {'image': IMAGES}, ACTIONS, seed)
      for seed in range(count)]


def dreamerv2(config, batches, sources):
  """Returns the update of our agent alone."""
  learner, = make_agents(config, 1)
  return {'update': (lambda: learner.train(batches()), [learner.train], 1)}


def make_pair(config):
  """Returns CoWorld's pair."""
  from coworld_tf import pair
  return pair.CoWorldPair(config, *make_agents(config, 2), eta_steps=1)


def target(config, batches, sources):
  """Returns the target's update, which embeds images by the source too."""
  step = make_pair(config).train_target
  return {'update': (lambda: step(batches()), [step], 1)}


def target_cached(config, batches, sources):
  """Returns the target's update with embeddings by the source at hand."""
  learner = make_pair(config)
  step, embed = learner.train_target, embeddings(config, batches)
  return {
      'update': (lambda: step({**batches(), 'peer_embed': embed}), [step], 1)}


def embeddings(config, batches):
  """Returns noise for embeddings [B, L, E] by the source."""
  import tensorflow as tf
  shape = [*batches.shape, floor.embedding(config)]
  return tf.cast(
      tf.random.stateless_normal(shape, [0, 0]),
      precision.DTYPES[config.precision])


def source(config, batches, sources):
  """Returns the source's update with rewards of the target."""
  step = make_pair(config).train_source_aligned
  return {'update': (lambda: step(batches(), batches()), [step], 1)}


def multi_source(config, batches, sources):
  """Returns the target's update with several sources."""
  from coworld_tf import sources as several
  *agents, last = make_agents(config, sources + 1)
  learner, extra = several.MultiSource(config, agents, last, eta_steps=1), {}
  # Where the source stays for a block, its embeddings are kept.
  if config.multi_source.reselect != 'step':
    extra['peer_embed'] = embeddings(config, batches)
  functions = [learner.distances, *[x.train_target for x in learner.pairs]]
  step = lambda: learner.train_target({**batches(), **extra})
  return {'update': (step, functions, 1)}


def products(config, batches, sources):
  """Returns an update's operations as the quickest matrix products."""
  step, count = floor.product(config.precision)
  needed = floor.total(floor.operations(config, *ACTIONS.shape))
  return {'update': (step, [], needed / count)}


def our_parts(config, batches, sources):
  """Returns the parts of our agent's update, see parts.py."""
  from benchmarks.train_step import parts
  learner, = make_agents(config, 1)
  return parts.ours(learner, batches())


def official_parts(config, batches, sources):
  """Returns the parts of the official agent's update."""
  modules, common = official.load()
  from benchmarks.train_step import parts
  learner = modules.Agent(
      official.config(common, config), {'image': IMAGES},
      {'action': ACTIONS}, 0)
  return parts.theirs(learner, batches())


# Kind -> function of configuration, batches and number of sources that gives
# {name: (step, compiled functions, share)}: see `timed`.
KINDS = {
    'official': official_agent, 'dreamerv2': dreamerv2, 'target': target,
    'target_cached': target_cached, 'source': source,
    'multi_source': multi_source, 'floor': products,
    'our_parts': our_parts, 'official_parts': official_parts}

if __name__ == '__main__':
  sys.exit(main())
