"""Runs with initial weights, and exports of them."""

import pathlib

from coworld_tf import checkpoints, evaluate, inputs, methods
from coworld_tf.export import __main__ as program
from dreamerv2_base import config as configs
from dreamerv2_base import flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
TASKS = '--source_task', 'dummy_2', '--target_task', 'dummy_2'
PADDED = '--source_task', 'dummy_3', '--target_task', 'dummy_2'
METHODS = {
    'coworld': PADDED, 'dreamerv2': ('--task', 'dummy_2'),
    'dreamerv2_offline': ('--target_task', 'dummy_2'),
    'offline_dv2': ('--target_task', 'dummy_2'),
    'dv2_finetune': PADDED, 'dv2_finetune_ewc': TASKS,
    'multi_source': (
        '--multi_source.candidates', 'dummy_2', 'dummy_3', '--target_task',
        'dummy_2')}


def train(dataset, logdir, method, *argv):
  """Leaves a run whose only checkpoint has the initial weights."""
  offline = () if method == 'dreamerv2' else ('--offline_dir', str(dataset))
  config = flags.parse([
      '--configs', method, 'debug', '--logdir', str(logdir), *offline,
      '--time_limit', '12', *METHODS[method], *argv], ROOT / 'configs')
  replay = inputs.open_dataset(config) if offline else None
  trainer = methods.build(config, logdir, replay)
  configs.save(config, logdir / 'config.yaml')
  trainer.save()
  trainer.settle()
  return logdir


def export(logdir, out, *argv):
  return program.main([
      '--logdir', str(logdir), '--out', str(out), *map(str, argv)])


def live_agent(logdir):
  config = checkpoints.read_config(logdir)
  args = evaluate.parse_arguments(['--logdir', str(logdir)])
  return evaluate.load(config, args)[0]
