"""Checks of what a user gives: configuration, dataset, log directory.

Nothing here loads TensorFlow, so that mistakes are told at once.
"""

import logging
import pathlib

import numpy as np

from dreamerv2_base import config as configs
from dreamerv2_base import episodes, replay
from envs import check_task

TASK_KEYS = 'source_task', 'target_task', 'offline_dir'
# Settings of the simulator that a dataset and its evaluation must share.
SETTINGS = 'action_repeat', 'time_limit', 'size', 'camera', 'quality'


def check(config):
  """Checks what the types of the configuration do not.

  Raises:
    ValueError: a value cannot be used; one line names the key.
  """
  choices = {
      'method': ('coworld', 'dreamerv2'),
      'compile': ('graph', 'xla', 'eager'),
      'precision': ('16', 'bfloat16', '32'),
      'coworld.target_init': ('random', 'from_source')}
  flat = config.flat()
  for key, allowed in choices.items():
    if flat[key] not in allowed:
      raise ValueError(
          f"{key}: '{flat[key]}', use one of {', '.join(allowed)}")
  positive = (
      'dataset.batch', 'train_every', 'action_repeat', 'log_every',
      'evaluation.target_episodes', 'evaluation.source_episodes',
      'evaluation.final_episodes', 'evaluation.envs', 'imag_horizon')
  for key in positive:
    if flat[key] < 1:
      raise ValueError(f'{key}: {flat[key]} must be at least 1')
  if config.imag_horizon < 2 or config.dataset.length < 2:
    raise ValueError('imag_horizon and dataset.length must be at least 2')
  if 0 < config.time_limit < config.dataset.length:
    raise ValueError(
        f'time_limit: {config.time_limit} agent steps are too short for '
        f'dataset.length: {config.dataset.length} rows')
  coworld = config.method == 'coworld'
  keys = [*(TASK_KEYS if coworld else ('task',)), 'logdir']
  for key in keys:
    if not flat[key]:
      raise ValueError(f"{key} is not set, give it as '--{key} VALUE'")
    if key.endswith('task'):
      check_task(flat[key])


def open_dataset(config):
  """Opens the offline dataset and checks that it fits the target task.

  Raises:
    ValueError, OSError: it cannot be read, holds too short episodes, or was
      made with other settings than this run would evaluate with.
  """
  directory = pathlib.Path(config.offline_dir)
  data = replay.Replay(
      directory, config.capacity, config.prioritize_ends)
  if not data.stats['episodes']:
    raise ValueError(
        f'{directory} holds no episodes (*.npz); make some with '
        'python -m coworld_tf.datasets.collect')
  data.sample(1, config.dataset.length, np.random.default_rng(0))
  try:
    metadata = episodes.read_metadata(directory)
  except FileNotFoundError:
    logging.getLogger('coworld').warning(
        'warning: %s has no metadata.json; whether task, rendering and '
        'action repeat fit is not checked', directory)
    return data
  expected = {'task': config.target_task}
  expected.update({key: config[key] for key in SETTINGS})
  for key, value in expected.items():
    if metadata.get(key, value) != value and not config.allow_mismatch:
      raise ValueError(
          f"{directory}: made with {key} '{metadata[key]}', but this run has "
          f"'{value}'; change that or give --allow_mismatch True")
  return data


def remember(config, logdir):
  """Saves the configuration, or checks that it is that of the run.

  Raises:
    ValueError: the log directory holds a run with another configuration.
  """
  path = logdir / 'config.yaml'
  if not path.exists():
    configs.save(config, path)
    return
  before = configs.Config(configs.load(path)).flat()
  for key, value in config.flat().items():
    if before.get(key) != value:
      raise ValueError(
          f"{logdir} holds a run with {key} '{before.get(key)}', not "
          f"'{value}'; choose another --logdir to start a new one")
