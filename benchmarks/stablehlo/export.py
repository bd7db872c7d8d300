"""Writes a training step, its data and TensorFlow's losses for run.py.

  python -m benchmarks.stablehlo.export --out DIR --configs dreamerv2 small
  python -m benchmarks.stablehlo.export --out DIR --configs coworld paper \\
      --precision bfloat16 --no_reference

A learner with random weights makes updates on batches of the dummy simulator
with six actions, which take turns. Flags that are not listed are those of
train.py; --compile says how TensorFlow makes its updates.

    train_step.*    see docs/export.md
    batches.npz     the batches by name, [N, B, L, ...]
    losses.npz      TensorFlow's metrics by name, [updates]
    middle.npz      its inputs of the step after half of the updates
    benchmark.json  what was exported, and tolerance and size of an update;
                    written last
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np

import envs
from benchmarks import floor
from coworld_tf import cli, inputs
from dreamerv2_base import config as configs
from dreamerv2_base import files, flags, logger, precision, progress

ROOT = pathlib.Path(__file__).resolve().parents[2]
TASK = 'dummy_6'
# Of losses, see run.py: while the same classes are drawn, and afterwards.
TOLERANCES = {'32': (1e-4, 0.1), 'bfloat16': (0.05, 0.2), '16': (0.05, 0.2)}
TASKS = {key: TASK for key in ('task', 'source_task', 'target_task')}


def main(argv=None):
  """Runs the command line; returns the exit status."""
  words = sys.argv[1:] if argv is None else list(argv)
  args, others = parse_arguments(words)
  logger.setup_terminal('coworld_tf', 'envs')
  with cli.input_errors():
    if min(args.updates, args.batches) < 1:
      raise ValueError('--updates and --batches must be positive')
    config = configs.merge(flags.parse(others, ROOT / 'configs'), {
        **TASKS, 'logdir': str(args.out), 'offline_dir': str(args.out)}, TASK)
    inputs.check(config)
    args.out.mkdir(parents=True, exist_ok=True)
    if any(args.out.iterdir()):
      raise ValueError(f'--out: {args.out} is in use; name a new folder')
    with cli.quiet_loading():
      from coworld_tf import methods
      from coworld_tf.export import stablehlo
      config = precision.settled(config)
    env = envs.make(TASK, size=config.size)
    images, actions = env.obs_space['image'], env.act_space['action']
    learner = methods.build_learner(
        config, {'image': images}, [actions] * len(methods.tasks(config)),
        list(methods.make_blocks(config)))
    stablehlo.write_train_step(args.out, learner, images)
  batches = play(env, config.dataset, args.batches)
  np.savez_compressed(args.out / 'batches.npz', **batches)
  if args.reference:
    metrics, middle = train(learner, batches, args.updates)
    np.savez(args.out / 'losses.npz', **metrics)
    needed = np.load(args.out / 'train_step.npz').files
    np.savez(args.out / 'middle.npz', **{
        key: x for key, x in middle.items() if key in needed})
  with files.replacing(args.out / 'benchmark.json') as temporary:
    temporary.write_text(json.dumps({
        'command': ' '.join(['python -m benchmarks.stablehlo.export', *words]),
        **facts(config, args, *actions.shape)}, indent=2) + '\n')
  print(f'Everything is in {args.out}')
  return 0


def parse_arguments(argv):
  """Parses the command line; returns its own flags and the others."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.stablehlo.export', allow_abbrev=False,
      description=__doc__.split('\n')[0])
  add = parser.add_argument
  add('--out', type=pathlib.Path, required=True, metavar='DIR',
      help='folder for the files, new or empty')
  add('--updates', type=int, default=100, metavar='N',
      help="updates of TensorFlow's (default 100)")
  add('--batches', type=int, default=4, metavar='N',
      help='batches that take turns (default 4)')
  add('--no_reference', dest='reference', action='store_false',
      help='export only, without losses to compare with')
  return parser.parse_known_args(argv)


def facts(config, args, action):
  """Returns what run.py tells about the step and judges it by.

  Operations are those of a plain DreamerV2 update of this size.
  """
  near, far = TOLERANCES[config.precision]
  return {
      'method': config.method, 'precision': config.precision,
      **config.dataset, 'compile': config.compile, 'batches': args.batches,
      'reference': args.reference, 'middle': args.updates // 2,
      'tolerance': {'near': near, 'far': far},
      'operations': floor.total(floor.operations(config, action))}


def play(env, dataset, count):
  """Returns batches of random play, name -> [count, B, L, ...]."""
  rng, rows = np.random.default_rng(0), []
  size = count, dataset.batch, dataset.length
  obs = env.reset()
  for _ in range(math.prod(size)):
    action = np.zeros(env.act_space['action'].shape, np.float32)
    if obs['is_last']:
      obs = env.reset()
    elif rows:
      action = rng.uniform(-1, 1, action.shape).astype(np.float32)
      obs = env.step({'action': action})
    rows.append({**obs, 'action': action})
  keys = [key for key in rows[0] if not key.startswith('log_')]
  batches = {key: np.stack([row[key] for row in rows]) for key in keys}
  return {key: x.reshape(*size, *x.shape[1:]) for key, x in batches.items()}


def train(learner, batches, updates):
  """Makes updates in TensorFlow.

  Returns:
    Name -> metrics [updates], and name -> variable after half of them.
  """
  import tensorflow as tf

  from coworld_tf.export import stablehlo
  _, agent, update = stablehlo.training(learner)
  count, rows = len(batches['image']), []
  tensors = [
      {key: tf.constant(x[index]) for key, x in batches.items()}
      for index in range(count)]
  bar = progress.Progress(updates, 'updates', unit='update')
  for index in range(updates):
    if index == updates // 2:
      middle = {
          name: ref.deref().numpy()
          for ref, name in stablehlo.paths(learner).items()}
    metrics = update(tensors[index % count])
    agent.step.assign_add(agent.config.train_every)
    rows.append({key: x.numpy() for key, x in metrics.items()})
    bar.update()
  bar.close()
  return {key: np.stack([row[key] for row in rows]) for key in rows[0]}, middle


if __name__ == '__main__':
  sys.exit(main())
