"""From a configuration to everything a run needs."""

import numpy as np

from coworld_tf import action_adapter, inputs, pair, schedule, trainer
from dreamerv2_base import agent, driver, episodes, replay
from envs import worker


def build(config, logdir, target_replay):
  """Builds the trainer of the configured method.

  Args:
    config: configuration, see configs/defaults.yaml.
    logdir: log directory, which is created.
    target_replay: the offline dataset, or None for an online agent alone.

  Raises:
    ValueError: parts of the configuration do not fit together.
    WorkerError: a simulator does not start.
  """
  alone = target_replay is None
  tasks = {'source': config.task} if alone else {
      'source': config.source_task, 'target': config.target_task}
  settings = {key: config[key] for key in inputs.SETTINGS}
  spaces = {}
  for domain, task in tasks.items():
    # Without restarts, since what fails here is the user's to fix.
    with worker.Worker(task, **settings) as env:
      obs_space = {'image': env.obs_space['image']}
      spaces[domain] = env.act_space['action']
  space = spaces['source']
  if not alone:
    check_dataset(target_replay, obs_space['image'], spaces['target'])
    space = action_adapter.source_space(
        config.coworld.action_adapter, space, spaces['target'],
        config.coworld.semantic_index)
  size = driver.action_size(space)

  def make_env(domain, seed):
    env = worker.RestartingWorker(tasks[domain], seed=seed, **settings)
    if domain == 'source' and size > driver.action_size(spaces[domain]):
      return action_adapter.PaddedActions(env, size)
    return env

  source = agent.Agent(config, obs_space, space, 2 * config.seed)
  couple = None if alone else make_pair(
      config, source, agent.Agent(
          config, obs_space, spaces['target'], 2 * config.seed + 1))
  directory = logdir / 'source_episodes'
  directory.mkdir(parents=True, exist_ok=True)
  source_replay = replay.Replay(
      directory, config.capacity, config.prioritize_ends, writable=True)
  if not (directory / episodes.METADATA).exists():
    episodes.write_metadata(directory, {
        'task': tasks['source'], **settings, 'seed': config.seed,
        'policy': f'{config.method} in training'})
  return trainer.Trainer(
      config, logdir, couple, source, source_replay, target_replay, make_env)


def check_dataset(data, images, space):
  """Checks that a dataset fits the simulator of its task.

  Args:
    data: replay.Replay of the dataset.
    images: space of the images.
    space: space of the actions.

  Raises:
    ValueError: its images or actions are others.
  """
  # Two rows, because the action of the first may be that of a reset.
  example = data.sample(1, 2, np.random.default_rng(0))
  shape, action = example['image'].shape[2:], example['action']
  if shape != images.shape:
    raise ValueError(
        f'offline_dir: images are {list(shape)}, those of the simulator '
        f'{list(images.shape)}; change --size')
  size = driver.action_size(space)
  if action.shape[-1] != size:
    raise ValueError(
        f'offline_dir: actions have size {action.shape[-1]}, those of '
        f'target_task {size}')
  if driver.is_discrete(space) and sorted(action[0, 1]) != (
      [0] * (size - 1) + [1]):
    raise ValueError(
        'offline_dir: actions are not one-hot vectors, but target_task has '
        f'{size} choices')


def make_pair(config, source, target):
  """Ties two agents together; the schedule tells how long eta falls."""
  blocks = list(schedule.algorithm_1(**config.schedule))
  repeat = config.action_repeat
  aligned = schedule.total(blocks, 'source_aligned') // repeat
  return pair.CoWorldPair(
      config, source, target, max(config.eta.steps or aligned, 1),
      config.schedule.prefill // repeat)
