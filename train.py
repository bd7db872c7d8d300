"""Trains CoWorld or a baseline; `python train.py --help` lists settings."""

import logging
import pathlib
import sys

from coworld_tf import cli, inputs, interrupts
from dreamerv2_base import config as configs
from dreamerv2_base import flags, logger, precision, replay
from envs import worker

CONFIGS = pathlib.Path(__file__).resolve().parent / 'configs'


def main(argv=None):
  """Runs the command line; returns the exit status."""
  try:
    with interrupts.raised():
      run(sys.argv[1:] if argv is None else argv)
  except interrupts.Stopped as stopped:
    # TensorFlow complains about what was left half done.
    logging.disable()
    print(interrupts.FAREWELL, file=sys.stderr)
    return stopped.status
  return 0


def run(argv):
  """Checks the arguments, trains and shows what came out."""
  with cli.input_errors():
    config = flags.parse(argv, CONFIGS)
    inputs.check(config)
    logger.setup_terminal('coworld_tf', 'envs')
    offline = inputs.target_tasks(config)
    target_replay = inputs.open_dataset(config) if offline else None
    logdir = pathlib.Path(config.logdir).expanduser()
    inputs.check_logdir(config, logdir)
    config = inputs.continued(config, logdir)
    # Within TensorFlow, what a signal raises becomes an error of the input.
    with interrupts.delayed():
      methods = load_tensorflow()
      config = precision.settled(config)
      trainer = methods.build(config, logdir, target_replay)
    # Last, so that a command that could not start can be corrected.
    configs.save(config, logdir / 'config.yaml')
  ends = replay.TooShort, cli.Fault, worker.WorkerError
  with cli.full_disk(), cli.input_errors(ends):
    trainer.run()
    show(config, logdir, trainer)


def load_tensorflow():
  """Imports what needs TensorFlow, late because it takes seconds."""
  with cli.quiet_loading():
    import tensorflow as tf

    from coworld_tf import methods
    # Promises on a CPU what is so anyway; elsewhere it costs time.
    if not tf.config.list_physical_devices('GPU'):
      tf.config.experimental.enable_op_determinism()
  return methods


def show(config, logdir, trainer):
  """Writes and prints what came out."""
  from coworld_tf import report
  summary = report.finish(
      config, logdir, trainer.learner, trainer.target_replay,
      {**trainer.counts(), 'shares': trainer.shares.summary()})
  print()
  print(report.table(summary))
  print(f'\nEverything is in {logdir}: summary.json, curves.png, returns.png,')
  print('videos, metrics.jsonl, TensorBoard events, checkpoints')


if __name__ == '__main__':
  sys.exit(main())
