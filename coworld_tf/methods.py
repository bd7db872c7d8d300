"""From a configuration to everything a run needs, checked on the way."""

import logging
import pathlib

import gymnasium
import numpy as np

from coworld_tf import action_adapter
from coworld_tf import pair
from coworld_tf import schedule
from coworld_tf import trainer
from dreamerv2_base import agent
from dreamerv2_base import config as configs
from dreamerv2_base import episodes
from dreamerv2_base import replay
from envs import worker

# Settings of the simulator that a dataset and its evaluation must share.
SETTINGS = 'action_repeat', 'time_limit', 'size', 'camera', 'quality'


def build(config, logdir):
  """Builds the trainer of the configured method.

  Args:
    config: configuration, see configs/defaults.yaml.
    logdir: existing log directory.

  Raises:
    ValueError, OSError: the configuration, the data or the log directory
      cannot be used; one line says why.
  """
  logdir = pathlib.Path(logdir)
  check(config)
  alone = config.method == 'dreamerv2'
  tasks = {'source': config.task if alone else config.source_task,
           'target': config.target_task}
  target_replay = None if alone else open_dataset(config)
  remember(config, logdir)
  with simulator(config, tasks['source'], 0) as env:
    obs_space, space = env.obs_space, env.act_space['action']
  obs_space = {'image': obs_space['image']}
  size = space.shape[0]
  if not alone:
    target_space = dataset_space(target_replay, obs_space)
    size = action_adapter.source_size(
        config.coworld.action_adapter, size, target_space.shape[0])

  def make_env(domain, seed):
    env = simulator(config, tasks[domain], seed)
    if domain == 'source' and size > env.act_space['action'].shape[0]:
      return action_adapter.PaddedActions(env, size)
    return env

  pad = np.zeros(size - space.shape[0], np.float32)
  space = gymnasium.spaces.Box(
      np.concatenate([space.low, pad]), np.concatenate([space.high, pad]))
  source = agent.Agent(config, obs_space, space, 2 * config.seed)
  couple = None if alone else make_pair(
      config, source, agent.Agent(
          config, obs_space, target_space, 2 * config.seed + 1))
  directory = logdir / 'source_episodes'
  directory.mkdir(exist_ok=True)
  source_replay = replay.Replay(
      directory, config.capacity, config.prioritize_ends)
  return trainer.Trainer(
      config, logdir, couple, source, source_replay, target_replay, make_env)


def check(config):
  """Checks what the types of the configuration do not.

  Raises:
    ValueError: a value cannot be used; one line names the key.
  """
  choices = {
      'method': ('coworld', 'dreamerv2'),
      'compile': ('graph', 'xla', 'eager'),
      'precision': tuple(agent.PRECISIONS),
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
  keys = ('source_task', 'target_task', 'offline_dir') if coworld else (
      'task',)
  for key in keys:
    if not flat[key]:
      raise ValueError(f"{key} is not set, give it as '--{key} VALUE'")


def simulator(config, task, seed):
  """Starts a simulator in a process of its own."""
  settings = {key: config[key] for key in SETTINGS}
  return worker.Worker(task, seed=seed, **settings)


def open_dataset(config):
  """Opens the offline dataset and checks that it fits the target task.

  Raises:
    ValueError, OSError: it cannot be read, holds too short episodes, or was
      made with other settings than this run would evaluate with.
  """
  directory = pathlib.Path(config.offline_dir)
  data = replay.Replay(
      directory, config.capacity, config.prioritize_ends)
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


def dataset_space(data, obs_space):
  """Returns the action space of a dataset whose images must fit.

  Raises:
    ValueError: the images have another shape than the simulator's.
  """
  example = data.sample(1, 1, np.random.default_rng(0))
  shape = example['image'].shape[2:]
  if shape != obs_space['image'].shape:
    raise ValueError(
        f'offline_dir: images are {list(shape)}, those of the source '
        f"{list(obs_space['image'].shape)}; change --size")
  size = example['action'].shape[-1]
  return gymnasium.spaces.Box(-1, 1, (size,), np.float32)


def make_pair(config, source, target):
  """Ties two agents together; the schedule tells how long eta falls."""
  blocks = list(schedule.algorithm_1(**config.schedule))
  repeat = config.action_repeat
  aligned = schedule.total(blocks, 'source_aligned') // repeat
  return pair.CoWorldPair(
      config, source, target, max(config.eta.steps or aligned, 1),
      config.schedule.prefill // repeat)


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
