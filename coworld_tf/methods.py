"""From a configuration to everything a run needs."""

import gymnasium
import numpy as np

from coworld_tf import action_adapter, inputs, pair, schedule, trainer
from dreamerv2_base import agent, replay
from envs import worker


def build(config, logdir, target_replay):
  """Builds the trainer of the configured method.

  Args:
    config: configuration, see configs/defaults.yaml.
    logdir: log directory, which is created.
    target_replay: the offline dataset, or None for an online agent alone.

  Raises:
    ValueError: parts of the configuration do not fit together.
  """
  alone = target_replay is None
  tasks = {'source': config.task if alone else config.source_task,
           'target': config.target_task}
  with simulator(config, tasks['source'], 0) as env:
    obs_space, space = env.obs_space, env.act_space['action']
  obs_space = {'image': obs_space['image']}
  size = space.shape[0]
  if not alone:
    target_space = dataset_space(target_replay, obs_space)
    size = action_adapter.source_size(
        config.coworld.action_adapter, size, target_space.shape[0],
        config.coworld.semantic_index)

  def make_env(domain, seed):
    env = simulator(config, tasks[domain], seed)
    used = env.act_space['action'].shape[0]
    if domain == 'target' and used != target_space.shape[0]:
      raise ValueError(
          f'offline_dir: actions have size {target_space.shape[0]}, those of '
          f'{config.target_task} {used}')
    if domain == 'source' and used < size:
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
  directory.mkdir(parents=True, exist_ok=True)
  source_replay = replay.Replay(
      directory, config.capacity, config.prioritize_ends, writable=True)
  return trainer.Trainer(
      config, logdir, couple, source, source_replay, target_replay, make_env)


def simulator(config, task, seed):
  """Starts a simulator in a process of its own."""
  settings = {key: config[key] for key in inputs.SETTINGS}
  return worker.Worker(task, seed=seed, **settings)


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
