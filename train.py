"""Trains CoWorld or DreamerV2; `python train.py --help` lists all settings."""

import pathlib
import sys

from coworld_tf import cli, inputs
from dreamerv2_base import flags, logger

CONFIGS = pathlib.Path(__file__).resolve().parent / 'configs'


def main(argv=None):
  """Runs the command line; returns the exit status."""
  with cli.input_errors():
    config = flags.parse(sys.argv[1:] if argv is None else argv, CONFIGS)
    inputs.check(config)
    logger.setup_terminal()
    coworld = config.method == 'coworld'
    target_replay = inputs.open_dataset(config) if coworld else None
    logdir = pathlib.Path(config.logdir).expanduser()
    logdir.mkdir(parents=True, exist_ok=True)
    inputs.remember(config, logdir)
    methods = load_tensorflow()
    trainer = methods.build(config, logdir, target_replay)
  trainer.run()
  report(config, logdir, trainer)
  return 0


def load_tensorflow():
  """Imports what needs TensorFlow, late because it takes seconds."""
  with cli.quiet_loading():
    from coworld_tf import methods
  return methods


def report(config, logdir, trainer):
  """Writes and prints what came out."""
  from coworld_tf import report
  summary = report.finish(
      config, logdir, trainer.target_replay, trainer.counts())
  print()
  print(report.table(summary))
  print(f'\nEverything is in {logdir}: summary.json, curves.png, returns.png,')
  print('videos, metrics.jsonl, TensorBoard events, checkpoints')


if __name__ == '__main__':
  sys.exit(main())
