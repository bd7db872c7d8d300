"""Exports the policy of a run of train.py.

  python -m coworld_tf.export --logdir runs/walker --out exports/walker
  python -m coworld_tf.export --logdir runs/walker --out exports/walker \\
      --formats tflite stablehlo train_step

docs/export.md tells what the folder holds and how to use it.
"""

import argparse
import pathlib
import sys

from coworld_tf import checkpoints, cli, evaluate
from coworld_tf.export import artifact
from dreamerv2_base import logger
from envs import worker

FORMATS = 'tflite', 'stablehlo', 'train_step'


def main(argv=None):
  """Runs the command line; returns the exit status."""
  args = parse_arguments(argv)
  logger.setup_terminal('coworld_tf', 'envs')
  try:
    with cli.input_errors(), cli.full_disk():
      facts = export(args)
  except KeyboardInterrupt:
    print('stopped; nothing was written', file=sys.stderr)
    return 130
  names = sorted(path.name for path in args.out.iterdir())
  print('{method} for {task} after {updates} updates'.format(**facts))
  print(f'Everything is in {args.out}:', ', '.join(names))
  return 0


def parse_arguments(argv=None):
  """Parses the command line."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.export', allow_abbrev=False,
      description='Write the policy of a run as a SavedModel.')
  add = parser.add_argument
  add('--logdir', type=pathlib.Path, required=True, metavar='RUN',
      help='directory of the run')
  add('--out', type=pathlib.Path, required=True, metavar='DIR',
      help='folder to make, new or empty')
  add('--checkpoint', default='last', metavar='NAME',
      help='last, best, or a name or path such as ckpt-3 (default last)')
  add('--formats', nargs='+', default=[], choices=FORMATS, metavar='FORMAT',
      help='further forms: tflite; stablehlo, the policy for one batch size; '
      'train_step, an update of what the method trains as StableHLO')
  add('--batch', type=int, default=1, metavar='B',
      help='batch size of the policy as StableHLO (default 1)')
  args = parser.parse_args(argv)
  args.logdir = args.logdir.expanduser()
  args.out = args.out.expanduser()
  return args


def export(args):
  """Writes the folder; returns the metadata.

  Raises:
    ValueError, OSError, WorkerError: something is missing or in the way.
  """
  # The folder is replaced, so nobody can be in it.
  if args.out.exists() and (
      not args.out.is_dir() or any(args.out.iterdir())
      or args.out.samefile('.')):
    raise ValueError(f'--out: {args.out} is in use; name a new folder')
  if args.logdir.resolve() / 'checkpoints' in args.out.resolve().parents:
    raise ValueError(f'--out: {args.out} is among checkpoints; name another')
  if args.batch < 1:
    raise ValueError(f'--batch is {args.batch}: must be at least 1')
  config = checkpoints.read_config(args.logdir)
  with cli.quiet_loading():
    from coworld_tf import methods
    from coworld_tf.export import policy, saved_model, stablehlo, tflite
  if 'tflite' in args.formats:
    tflite.check(config)
  learner, _, path = evaluate.load(config, args)
  task = evaluate.task(config)
  with worker.Worker(task, native=True, **methods.settings(config)) as env:
    images, space = env.obs_space['image'], env.act_space['action']
  exported = policy.Policy(learner, images, space)
  facts = saved_model.describe(
      config, args.logdir, task, learner, path, images, space)
  with saved_model.replacing(args.out) as folder:
    saved_model.write(folder, exported, facts)
    if 'tflite' in args.formats:
      tflite.write(folder)
    if 'stablehlo' in args.formats:
      stablehlo.write_policy(folder / 'stablehlo', exported, args.batch)
    if 'train_step' in args.formats:
      write_train_step(folder / 'stablehlo', args, config, images)
  return artifact.check(args.out)


def write_train_step(folder, args, config, images):
  """Adds an update of everything that the method trains on batches."""
  from coworld_tf import methods
  from coworld_tf.export import stablehlo
  found, simulators = methods.spaces(config, methods.tasks(config))
  learner = methods.build_learner(
      config, found, simulators, list(methods.make_blocks(config)))
  checkpoints.restore(
      checkpoints.pick(args.logdir, args.checkpoint), learner)
  stablehlo.write_train_step(folder, learner, images)


if __name__ == '__main__':
  sys.exit(main())
