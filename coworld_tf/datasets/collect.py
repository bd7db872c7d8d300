"""Makes an offline dataset by running a policy in a simulator.

  python -m coworld_tf.datasets.collect \\
      --task dmc_walker_downhill --policy random --steps 20000 --out DIR

DIR becomes a store of episodes with a metadata.json that says what they are.
"""

import argparse
import contextlib
import importlib.metadata
import pathlib
import platform
import sys

import numpy as np

from coworld_tf import cli, inputs
from dreamerv2_base import driver, episodes, logger, progress, store
from envs import worker


def main(argv=None):
  """Runs the command line and returns the exit status."""
  args = parse_arguments(argv)
  request = {'task': args.task, **vars(args)}
  request.pop('out')
  logger.setup_terminal('coworld_tf', 'envs')
  with contextlib.ExitStack() as stack:
    with cli.input_errors():
      check_arguments(args)
      before, complete = find_progress(args.out, request)
      if complete:
        print(f'{args.out} is already complete, nothing to do')
        return 0
      # Counting finished episodes in, so that a restart repeats none.
      *env_seeds, policy_seed = np.random.SeedSequence(
          [args.seed, before]).generate_state(args.envs + 1).tolist()
      settings = {key: request[key] for key in inputs.SETTINGS}
      # Without restarts, since what fails here is the user's to fix.
      with worker.Worker(args.task, **settings) as env:
        policy = make_policy(args.policy, env.act_space, policy_seed)
      args.out.mkdir(parents=True, exist_ok=True)
      data = stack.enter_context(store.Writer(args.out))
    try:
      workers = [
          stack.enter_context(contextlib.closing(
              worker.RestartingWorker(args.task, seed, **settings)))
          for seed in env_seeds]
      with cli.full_disk():
        metadata = collect(data, request, workers, policy)
    except KeyboardInterrupt:
      print('stopped; the same command continues', file=sys.stderr)
      return 130
  print(
      '{out}: {episodes} episodes, {frames} frames, return {mean:.1f} +- '
      '{std:.1f}'.format(out=args.out, **metadata, **metadata['returns']))
  return 0


def collect(data, request, workers, policy):
  """Adds whole episodes until the dataset has the requested frames.

  Args:
    data: store.Writer of the dataset.
    request: settings to record; reads requested_frames and action_repeat.
    workers: environments, stepped in lockstep, so that the order of the
      episodes does not depend on the speed of any.
    policy: as for `driver.Driver`.

  Returns:
    The metadata written.
  """
  repeat = request['action_repeat']
  frames = lambda: repeat * data.total_steps

  def write(complete):
    metadata = {
        **request, 'episodes': len(data.episodes), 'frames': frames(),
        'steps': data.total_steps, 'versions': versions()}
    if data.episodes:
      returns = [entry['return'] for entry in data.episodes]
      metadata['returns'] = episodes.return_statistics(returns)
    metadata['complete'] = complete
    episodes.write_metadata(data.directory, metadata)
    return metadata

  write(complete=False)
  keep = lambda episode, index: data.append(episode)
  rollout = driver.Driver(workers, on_episode=[keep])
  total = request['requested_frames']
  bar = progress.Progress(total, 'collect', frames(), 'frame')
  with contextlib.closing(bar):
    while frames() < total:
      rollout(policy, steps=len(workers))
      bar.update(len(workers) * repeat)
  return write(complete=True)


def check_arguments(args):
  """Raises ValueError for what the environment does not check itself."""
  lowest = {
      '--steps': (args.requested_frames, 1), '--envs': (args.envs, 1),
      '--seed': (args.seed, 0)}
  for name, (value, low) in lowest.items():
    if value < low:
      raise ValueError(f'{name} is {value}: must be at least {low}')


def find_progress(directory, request):
  """Looks at what is in the output directory already.

  Returns:
    The number of episodes there and whether the dataset is complete.

  Raises:
    ValueError: the directory holds something else than this dataset.
  """
  if not directory.exists() or {
      path.name for path in directory.iterdir()} <= {store.LOCK}:
    return 0, False
  if not (directory / episodes.METADATA).exists():
    raise ValueError(
        f'{directory} is not empty and has no {episodes.METADATA}; '
        'choose another --out')
  metadata = episodes.read_metadata(directory)
  differing = [
      f'{key} is {metadata.get(key)} there and {value} here'
      for key, value in request.items() if metadata.get(key) != value]
  if differing:
    raise ValueError(
        f'{directory} holds another dataset ({", ".join(differing)}); '
        'choose another --out')
  found = len(store.Store(directory).episodes)
  complete = metadata.get('complete', False)
  if complete and metadata['episodes'] != found:
    raise ValueError(
        f'{directory} is marked complete with {metadata["episodes"]} '
        f'episodes but has {found}; choose another --out')
  return found, complete


def make_policy(name, act_space, seed):
  """Builds the policy that collects."""
  if name == 'random':
    return driver.RandomPolicy(act_space, seed)
  raise ValueError(f'Unknown policy {name!r}, known: random')


def versions():
  """Versions of everything that decides what the frames look like."""
  packages = (
      'dm_control', 'gymnasium', 'metaworld', 'mujoco', 'numpy', 'pillow',
      'robodesk')
  found = {name: importlib.metadata.version(name) for name in packages}
  return {**found, 'python': platform.python_version()}


def parse_arguments(argv=None):
  """Parses the command line; its names are those of the metadata."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.datasets.collect', allow_abbrev=False,
      description='Make an offline dataset by running a policy.',
      epilog='The same command makes the same episodes. Stopped half way, it '
      'continues after the last complete episode with fresh random numbers. '
      'Nothing is ever deleted.',
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  add = parser.add_argument
  add('--task', required=True, default=argparse.SUPPRESS,
      help='for example dmc_walker_downhill')
  add('--policy', choices=['random'], default='random',
      help='random: uniform within the action bounds')
  add('--steps', dest='requested_frames', type=int, required=True,
      metavar='N', default=argparse.SUPPRESS,
      help='environment frames, action repeat included; whole episodes are '
      'written until there are at least this many')
  add('--out', type=pathlib.Path, required=True, metavar='DIR',
      default=argparse.SUPPRESS,
      help='directory of the dataset, made if it does not exist')
  add('--seed', type=int, default=0, help='of simulators and policy')
  add('--quality', choices=['exact', 'fast'], default='exact',
      help='rendering; evaluation must use the same')
  add('--action_repeat', type=int, default=1, metavar='R',
      help='frames per agent step')
  add('--time_limit', type=int, default=0, metavar='STEPS',
      help='agent steps per episode, 0 for the limit of the environment')
  add('--size', type=int, default=64, help='image height and width')
  add('--camera', default='',
      help="number or name of a camera, '' for the view of the suite")
  add('--fix_rewards', action='store_true',
      help='RoboDesk: let rewards see objects move')
  add('--envs', type=int, default=2, metavar='N',
      help='simulator processes; part of what makes the episodes')
  return parser.parse_args(argv)


if __name__ == '__main__':
  sys.exit(main())
