"""From a configuration to everything a run needs."""

import numpy as np

from coworld_tf import (
  action_adapter,
  collector,
  inputs,
  pair,
  schedule,
  seeds,
  sources,
  trainer,
)
from coworld_tf.baselines import alone, dv2_finetune, ewc, offline_dv2
from dreamerv2_base import agent, episodes, replay
from envs import driver, worker


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
  images, simulators = spaces(config, tasks(config))
  if target_replay:
    check_dataset(target_replay, images['image'], simulators[-1])
  blocks = list(make_blocks(config))
  learner = build_learner(config, images, simulators, blocks)
  target = learner.target
  if target and target.action_size > driver.action_size(simulators[-1]):
    target_replay = action_adapter.PaddedReplay(
        target_replay, target.action_size)
  collectors = [
      make_collector(config, logdir, learner, index)
      for index in range(len(learner.sources))]
  make_target = target and make_env(config, config.target_task, target)
  return trainer.Trainer(
      config, logdir, learner, blocks, collectors, target_replay, make_target)


def build_learner(config, images, simulators, blocks):
  """Builds the agents and the learner of the configured method.

  Args:
    config: configuration.
    images: name -> space of what agents see.
    simulators: list of the action spaces of all tasks.
    blocks: list of schedule.Block.

  Raises:
    ValueError: parts of the configuration do not fit together.
  """
  actions, target = agent_spaces(config, simulators), None
  if inputs.target_tasks(config):
    target = make_agent(config, images, actions.pop(), 0)
  agents = [
      make_agent(config, images, space, index)
      for index, space in enumerate(actions, 1)]
  return make_learner(config, agents, target, blocks)


def tasks(config):
  """Returns the tasks of all sources, then of the target if there is one."""
  return [*inputs.source_tasks(config), *inputs.target_tasks(config)]


def spaces(config, names):
  """Asks the simulators of tasks what they see and do.

  Returns:
    Name -> space of what agents see, and the action space of each task.

  Raises:
    WorkerError: a simulator does not start.
  """
  images, actions = [], []
  for task in names:
    # Without restarts, since what fails here is the user's to fix.
    with worker.Worker(
        task, timeout=config.simulator_timeout, **settings(config)) as env:
      images.append(env.obs_space['image'])
      actions.append(env.act_space['action'])
  return {'image': images[-1]}, actions


def agent_spaces(config, simulators):
  """Returns the action spaces of the agents of these simulators.

  Raises:
    ValueError: the actions cannot be adapted to each other.
  """
  if not inputs.target_tasks(config):
    return list(simulators)
  *online, target = simulators
  adapt, index = config.coworld.action_adapter, config.coworld.semantic_index
  if inputs.is_shared(config):
    source, = online
    choices = any(map(driver.is_discrete, (source, target)))
    if choices and source != target:
      raise ValueError(
          f'{config.method}: one agent cannot have the actions {source} of '
          f'the source and {target} of the target; use other tasks')
    # Both have the larger size.
    return [action_adapter.source_space('pad_max', source, target),
            action_adapter.source_space('pad_max', target, source)]
  return [
      *[action_adapter.source_space(adapt, space, target, index)
        for space in online], target]


def make_agent(config, images, space, index):
  """Builds the agent of the target (index 0) or of a source (from 1)."""
  seed = seeds.make(config.seed, seeds.AGENT, index)
  return agent.Agent(config, images, space, seed)


def settings(config):
  """Returns the arguments of all simulators of a run."""
  return {key: config[key] for key in inputs.SETTINGS}


def make_env(config, task, learner):
  """Returns a function of a seed that gives a simulator for an agent."""
  def make(seed):
    env = worker.RestartingWorker(
        task, seed=seed, timeout=config.simulator_timeout, **settings(config))
    size = learner.action_size
    if size > driver.action_size(env.act_space['action']):
      return action_adapter.PaddedActions(env, size)
    return env
  return make


def make_collector(config, logdir, learner, index):
  """Builds what collects the data of a source; makes its directory."""
  task, several = inputs.source_tasks(config)[index], len(learner.sources) > 1
  suffix = f'_{index}' * several
  directory = logdir / f'source_episodes{suffix}'
  directory.mkdir(parents=True, exist_ok=True)
  data = replay.Replay(
      directory, config.capacity, config.prioritize_ends, writable=True)
  if not (directory / episodes.METADATA).exists():
    episodes.write_metadata(directory, {
        'task': task, **settings(config), 'seed': config.seed,
        'policy': f'{config.method} in training'})
  source = learner.sources[index]
  return collector.Collector(
      config, f'source{suffix}', source, data, make_env(config, task, source),
      index)


def make_blocks(config):
  """Returns the schedule of the configured method."""
  amounts, count = config.schedule, len(inputs.source_tasks(config))
  match config.method:
    case 'coworld' | 'multi_source':
      return schedule.algorithm_1(
          **amounts, sources=count, reselect=config.multi_source.reselect,
          from_source=config.coworld.target_init == 'from_source')
    case 'dreamerv2':
      return schedule.online(**amounts)
    case 'dreamerv2_offline' | 'offline_dv2':
      return schedule.offline(**amounts)
    case 'dv2_finetune':
      return schedule.finetune(**amounts)
    case 'dv2_finetune_ewc':
      return schedule.finetune(**amounts, sequences=config.ewc.sequences)


def make_learner(config, agents, target, blocks):
  """Builds the learner of the configured method, see trainer.py.

  Args:
    config: configuration.
    agents: list of the agents of the sources.
    target: agent of the target, or None.
    blocks: list of schedule.Block, which tells how long eta falls.

  Raises:
    ValueError: the agents do not fit together.
  """
  repeat = config.action_repeat
  aligned = schedule.total(blocks, 'source_aligned') // repeat
  eta = max(config.eta.steps or aligned, 1), config.schedule.prefill // repeat
  match config.method:
    case 'coworld':
      return pair.CoWorldPair(config, *agents, target, *eta)
    case 'multi_source':
      return sources.MultiSource(config, agents, target, *eta)
    case 'dreamerv2':
      return alone.Online(*agents)
    case 'dreamerv2_offline':
      return alone.Offline(target)
    case 'offline_dv2':
      return offline_dv2.OfflineDV2(config, target)
    case 'dv2_finetune':
      return dv2_finetune.Finetune(config, *agents, target)
    case 'dv2_finetune_ewc':
      return ewc.FinetuneEWC(config, *agents, target)


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
