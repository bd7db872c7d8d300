"""Checks of what a user gives: configuration, dataset, log directory.

Nothing here loads TensorFlow, so that mistakes are told at once.
"""

import logging
import pathlib
import re

import numpy as np

import envs
from coworld_tf import limits
from dreamerv2_base import config as configs
from dreamerv2_base import episodes, files, precision, replay, store

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
    'logdir', 'offline_dir', 'log_every', 'checkpoint_every', 'resume',
    'on_nan', 'simulator_timeout', 'evaluation.envs', 'align.cache')
CHOICES = {
    'method': tuple(METHODS),
    'compile': ('graph', 'xla', 'eager'),
    'resume': ('never', 'auto', 'force'),
    'precision': (precision.AUTO, *precision.DTYPES),
    'on_nan': ('stop', 'skip'),
    'overlap': ('none', 'evaluation', 'all'),
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
PATTERNS = (
    'encoder.cnn_keys', 'encoder.mlp_keys', 'decoder.cnn_keys',
    'decoder.mlp_keys')


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
  limits.check_config(flat)
  # One action at least, which makes one episode.
  if METHODS[config.method][0] and (
      config.schedule.prefill < config.action_repeat):
    raise ValueError(
        f'schedule.prefill: {config.schedule.prefill} must be at least '
        f'action_repeat, which is {config.action_repeat}')
  if 0 < config.time_limit < config.dataset.length:
    raise ValueError(
        f'time_limit: {config.time_limit} agent steps are too short for '
        f'dataset.length: {config.dataset.length} rows')
  for key in PATTERNS:
    try:
      re.compile(flat[key])
    except (re.error, OverflowError, RecursionError) as error:
      raise ValueError(
          f"{key}: '{flat[key]}' is no pattern of names: {error}") from None
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
  """Checks that a run in the log directory may be continued.

  Raises:
    ValueError: it has another configuration, nothing may be continued, or
      there are symbolic links.
  """
  files.check_links(logdir)
  path = logdir / 'config.yaml'
  if not path.exists():
    return
  if config.resume == 'never':
    raise ValueError(
        f'{logdir} holds a run; choose another --logdir, or --resume auto to '
        'continue it')
  different = differences(configs.load(path), config)
  if different and config.resume == 'auto':
    raise ValueError(
        f'{logdir} holds a run with {different}; choose another --logdir to '
        'start a new one, or --resume force to go on with that one')


def differences(before, config):
  """Returns how the settings of a run differ from others, '' if they agree.

  Args:
    before: the settings of the run, a nested mapping; those that it does not
      have came later and count as equal.
    config: configuration to continue it with.
  """
  before, now = configs.Config(before).flat(), config.flat()
  different = [
      f"{key} '{before[key]}' instead of '{now[key]}'"
      for key in changed(before, now)]
  more = f' and {len(different) - 5} more' * (len(different) > 5)
  return ', '.join(different[:5]) + more


def changed(before, now):
  """Returns the keys in which flat settings differ from those of a run.

  Keys that `before` lacks count as equal, and so does any precision where
  `now` leaves it to the machine: the run keeps its own. Evaluations may be
  beside updates or not.
  """
  return [
      key for key, value in now.items()
      if key not in CHANGEABLE and before.get(key, value) != value
      and (key, value) != ('precision', precision.AUTO)
      and (key != 'overlap' or 'all' in (value, before[key]))]


def continued(config, logdir):
  """Returns a configuration with the precision of the run to be continued.

  That is, where the configuration leaves it to the machine: the run may come
  from another one.

  Raises:
    ValueError, OSError: the settings of the run cannot be used.
  """
  path = logdir / 'config.yaml'
  if config.precision != precision.AUTO or not path.exists():
    return config
  before = configs.load(path).get('precision', precision.AUTO)
  config = configs.merge(config, {'precision': before}, path)
  check(config)
  return config
