"""Checks of what a user gives: configuration, dataset, log directory.

Nothing here loads TensorFlow, so that mistakes are told at once.
"""

import logging
import pathlib

import numpy as np

import envs
from dreamerv2_base import config as configs
from dreamerv2_base import episodes, replay, store

# Method -> key that names its simulators, and whether it has offline data.
METHODS = {
    'coworld': ('source_task', True),
    'multi_source': ('multi_source.candidates', True),
    'dreamerv2': ('task', False),
    'dreamerv2_offline': (None, True),
    'offline_dv2': (None, True),
    'dv2_finetune': ('source_task', True),
    'dv2_finetune_ewc': ('source_task', True)}
# Settings of the simulator that a dataset and its evaluation must share.
SETTINGS = (
    'action_repeat', 'time_limit', 'size', 'camera', 'quality', 'fix_rewards')
# What a run may be continued with another value of.
CHANGEABLE = (
    'logdir', 'offline_dir', 'log_every', 'checkpoint_every', 'on_nan',
    'evaluation.envs')
CHOICES = {
    'method': tuple(METHODS),
    'compile': ('graph', 'xla', 'eager'),
    'precision': ('16', 'bfloat16', '32'),
    'on_nan': ('stop', 'skip'),
    'quality': envs.QUALITIES,
    'coworld.constraint': ('max', 'direct'),
    'coworld.action_adapter': ('pad_max', 'slice', 'semantic', 'zero'),
    'coworld.target_init': ('random', 'from_source'),
    'align.reduction': ('time_sum', 'mean'),
    'multi_source.reselect': ('step', 'round', 'once'),
    'eta.mode': ('linear', 'code_intended', 'code_frozen'),
    'clip_rewards': ('identity', 'sign', 'tanh'),
    'rssm.std_act': ('softplus', 'sigmoid', 'sigmoid2'),
    'actor_grad': ('auto', 'dynamics', 'reinforce', 'both')}
LOWEST = {
    'seed': 0, 'dataset.batch': 1, 'dataset.length': 2, 'imag_horizon': 2,
    'train_every': 1, 'action_repeat': 1, 'log_every': 1,
    'slow_target_update': 1, 'multi_source.batches': 1, 'ewc.sequences': 1,
    'rssm.ensemble': 1, 'offline_dv2.penalty': 0, 'ewc.weight': 0,
    'ewc.floor': 0, 'evaluation.envs': 1,
    'evaluation.target_episodes': 1, 'evaluation.source_episodes': 1,
    'evaluation.final_episodes': 1}


def check(config):
  """Checks what the types of the configuration do not.

  Raises:
    ValueError: a value cannot be used; one line names the key.
  """
  flat = config.flat()
  for key, allowed in CHOICES.items():
    if flat[key] not in allowed:
      raise ValueError(
          f"{key}: '{flat[key]}', use one of {', '.join(allowed)}")
  amounts = {f'schedule.{key}': 0 for key in config.schedule}
  if METHODS[config.method][0]:
    # One action at least, which makes one episode.
    amounts['schedule.prefill'] = config.action_repeat
  for key, low in {**LOWEST, **amounts}.items():
    if flat[key] < low:
      raise ValueError(f'{key}: {flat[key]} must be at least {low}')
  if config.seed >= 2 ** 30:
    raise ValueError(f'seed: {config.seed} must be below {2 ** 30}')
  if 0 < config.time_limit < config.dataset.length:
    raise ValueError(
        f'time_limit: {config.time_limit} agent steps are too short for '
        f'dataset.length: {config.dataset.length} rows')
  for key in task_keys(config):
    if not flat[key]:
      raise ValueError(f"{key} is not set, give it as '--{key} VALUE'")
    if key not in ('offline_dir', 'logdir'):
      tasks = flat[key] if isinstance(flat[key], list) else [flat[key]]
      for task in tasks:
        envs.check_task(task)
  if config.method == 'multi_source':
    check_candidates(config)
  if config.method == 'offline_dv2':
    for key in ('schedule.warmup', 'schedule.model_updates'):
      if flat[key] < 1:
        raise ValueError(
            f'{key}: {flat[key]} must be at least 1, or the policy of '
            'offline_dv2 would learn in an untrained model')


def task_keys(config):
  """Returns the keys of tasks and places that the method needs."""
  source, offline = METHODS[config.method]
  target = ['target_task', 'offline_dir'] if offline else []
  return [*([source] if source else []), *target, 'logdir']


def source_tasks(config):
  """Returns the tasks of the method's simulators, perhaps none."""
  key, _ = METHODS[config.method]
  tasks = config.flat()[key] if key else []
  return tasks if isinstance(tasks, list) else [tasks]


def target_tasks(config):
  """Returns a list of the task of the offline data, if it has any."""
  return [config.target_task] if METHODS[config.method][1] else []


def collect_flags(config):
  """Returns arguments of datasets.collect for the simulators of a run."""
  flags = []
  for key in SETTINGS:
    if config[key] is True:
      flags.append(f'--{key}')
    elif config[key]:
      flags += [f'--{key}', str(config[key])]
  return flags


def is_shared(config):
  """Whether one agent serves both source and target."""
  return config.method in ('dv2_finetune', 'dv2_finetune_ewc')


def check_candidates(config):
  """Checks what only several sources ask for.

  Raises:
    ValueError: a candidate is given twice, or the target would start from a
      source before one is selected.
  """
  tasks = config.multi_source.candidates
  twice = sorted({task for task in tasks if tasks.count(task) > 1})
  if twice:
    raise ValueError(
        f'multi_source.candidates: {twice[0]} is given more than once')
  if config.coworld.target_init == 'from_source':
    raise ValueError(
        'coworld.target_init: from_source is for one source; with method '
        'multi_source the target starts before one is selected')


def open_dataset(config):
  """Opens the offline dataset and checks that it fits the target task.

  Raises:
    ValueError, OSError: it cannot be read, is unfinished, holds too short
      episodes, or was made with other settings than this run would evaluate
      with.
  """
  directory = pathlib.Path(config.offline_dir).expanduser()
  if not (directory / store.INDEX).exists() and any(directory.glob('*.npz')):
    raise ValueError(
        f'{directory} has episodes as npz files; bring them with python -m '
        f'coworld_tf.datasets import {directory} --out DIR')
  described = (directory / episodes.METADATA).exists()
  if described and not config.allow_mismatch:
    check_metadata(config, directory)
  data = replay.Replay(directory, 0, config.prioritize_ends)
  if not data.stats['episodes']:
    raise ValueError(
        f'{directory} holds no episodes; make some with '
        'python -m coworld_tf.datasets collect')
  data.sample(1, config.dataset.length, np.random.default_rng(0))
  if not described:
    logging.getLogger(__name__).warning(
        'warning: %s has no metadata.json; whether task, rendering and '
        'action repeat fit is not checked', directory)
  return data


def check_metadata(config, directory):
  """Checks what a dataset says of itself.

  Raises:
    ValueError: it is unfinished or made with other settings.
  """
  metadata = episodes.read_metadata(directory)
  if not metadata.get('complete', True):
    raise ValueError(
        f'{directory}: unfinished; run the command that makes it again or '
        'give --allow_mismatch True')
  expected = {'task': config.target_task}
  expected.update({key: config[key] for key in SETTINGS})
  for key, value in expected.items():
    # Cameras may be numbers.
    if str(metadata.get(key, value)) != str(value):
      raise ValueError(
          f"{directory}: made with {key} '{metadata[key]}', but this run has "
          f"'{value}'; change that or give --allow_mismatch True")


def check_logdir(config, logdir):
  """Checks that a run in the log directory has the same configuration.

  Raises:
    ValueError: it has another one.
  """
  path = logdir / 'config.yaml'
  if not path.exists():
    return
  before = configs.Config(configs.load(path)).flat()
  for key, value in config.flat().items():
    if key not in CHANGEABLE and before.get(key, value) != value:
      raise ValueError(
          f"{logdir} holds a run with {key} '{before.get(key)}', not "
          f"'{value}'; choose another --logdir to start a new one")
