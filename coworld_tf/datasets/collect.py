"""Makes an offline dataset by running a policy or training an agent.

  python -m coworld_tf.datasets.collect \\
      --task dmc_walker_downhill --policy random --steps 20000 --out DIR

DIR becomes a store of episodes with a metadata.json that says what they are.
"""

import argparse
import contextlib
import importlib.metadata
import pathlib
import platform
import subprocess
import sys

import numpy as np

from coworld_tf import checkpoints, cli, inputs, limits
from coworld_tf.datasets import online
from dreamerv2_base import episodes, logger, progress, store
from envs import driver, worker


def main(argv=None):
  """Runs the command line and returns the exit status."""
  args = parse_arguments(argv)
  request = make_request(args)
  logger.setup_terminal('coworld_tf', 'envs')
  with cli.input_errors():
    check_arguments(args)
    before, complete = find_progress(args.out, request)
  if complete:
    print(f'{args.out} is already complete, nothing to do')
    return 0
  make = from_agent if args.policy in online.SHARES else from_simulator
  try:
    metadata = make(args, request, before)
  except KeyboardInterrupt:
    print('stopped; the same command continues', file=sys.stderr)
    return 130
  print(
      '{out}: {episodes} episodes, {frames} frames, return {mean:.1f} +- '
      '{std:.1f}'.format(out=args.out, **metadata, **metadata['returns']))
  return 0


def make_request(args):
  """What decides the episodes, as the metadata records it."""
  request = {'task': args.task, **vars(args)}
  request.pop('out')
  logdir = request.pop('agent_logdir')
  if args.policy == 'expert':
    request['agent_logdir'] = str(logdir)
  if args.policy not in online.SHARES:
    del request['agent_configs'], request['agent_flags']
  return request


def from_simulator(args, request, before):
  """Runs a policy; returns the metadata.

  Args:
    args: command line.
    request: settings to record.
    before: number of episodes that are there already.
  """
  with contextlib.ExitStack() as stack:
    with cli.input_errors():
      # Counting finished episodes in, so that a restart repeats none.
      # Below 2 ** 31, since evaluations have those above.
      sequence = np.random.SeedSequence([args.seed, before])
      *env_seeds, policy_seed = (
          sequence.generate_state(args.envs + 1) // 2).tolist()
      settings = {key: request[key] for key in inputs.SETTINGS}
      facts = {}
      # Without restarts, since what fails here is the user's to fix.
      with worker.Worker(args.task, **settings) as env:
        if args.policy == 'random':
          policy = driver.RandomPolicy(env.act_space, policy_seed)
        else:
          policy, facts = online.load_policy(
              args.agent_logdir, request, env, policy_seed)
      args.out.mkdir(parents=True, exist_ok=True)
      data = stack.enter_context(store.Writer(args.out))
    with cli.full_disk(), cli.input_errors(worker.WorkerError):
      workers = [
          stack.enter_context(contextlib.closing(
              worker.RestartingWorker(args.task, seed, **settings)))
          for seed in env_seeds]
      return collect(data, {**request, **facts}, workers, policy)


def from_agent(args, request, before):
  """Trains an agent and keeps its first episodes; as `from_simulator`."""
  with cli.input_errors():
    argv = online.agent_flags(args)
  if not online.is_finished(args.agent_logdir):
    online.train(argv)
  with contextlib.ExitStack() as stack:
    with cli.input_errors():
      facts = online.choose(args.agent_logdir, args.policy)
      config = checkpoints.read_config(args.agent_logdir)
      facts = {**request, 'cut': facts, 'agent': online.description(config)}
      replay = store.Store(args.agent_logdir / 'source_episodes')
      args.out.mkdir(parents=True, exist_ok=True)
      data = stack.enter_context(store.Writer(args.out))
      missing = online.missing(replay, data, facts['cut']['cut_episodes'])
    with cli.full_disk():
      write_metadata(data, facts, complete=False)
      online.copy(replay, data, missing)
      return write_metadata(data, facts, complete=True)


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
  write_metadata(data, request, complete=False)
  keep = lambda episode, index: data.append(episode)
  rollout = driver.Driver(workers, on_episode=[keep])
  total = request['requested_frames']
  bar = progress.Progress(total, 'collect', frames(), 'frame')
  with contextlib.closing(bar):
    while frames() < total:
      rollout(policy, steps=len(workers))
      bar.update(len(workers) * repeat)
  return write_metadata(data, request, complete=True)


def write_metadata(data, request, complete):
  """Says of a dataset what it is and holds; returns what was written."""
  metadata = {
      **request, 'episodes': len(data.episodes),
      'frames': request['action_repeat'] * data.total_steps,
      'steps': data.total_steps, 'versions': versions()}
  if data.episodes:
    returns = [entry['return'] for entry in data.episodes]
    metadata['returns'] = episodes.return_statistics(returns)
  metadata['complete'] = complete
  episodes.write_metadata(data.directory, metadata)
  return metadata


def check_arguments(args):
  """Raises ValueError for what the environment does not check itself."""
  limits.check({
      '--steps': (args.requested_frames, 1, limits.STEPS),
      '--envs': (args.envs, 1, limits.ENVS),
      '--seed': (args.seed, 0, limits.STEPS)})
  medium = args.policy in online.SHARES
  if not medium and (args.agent_configs or args.agent_flags):
    raise ValueError(
        f'--policy {args.policy} trains no agent: --agent_configs and what '
        'follows -- are for medium_replay and medium_expert')
  if args.policy == 'random' and args.agent_logdir:
    raise ValueError('--policy random has no agent: remove --agent_logdir')
  if args.policy == 'expert' and not args.agent_logdir:
    raise ValueError(
        '--policy expert needs the --agent_logdir of a finished agent')


def find_progress(directory, request):
  """Looks at what is in the output directory already.

  Returns:
    The number of episodes there and whether the dataset is complete.

  Raises:
    ValueError: the directory holds something else than this dataset.
  """
  if store.is_new(directory):
    return 0, False
  if not (directory / episodes.METADATA).exists():
    raise ValueError(
        f'{directory} is not empty and has no {episodes.METADATA}; '
        'choose another --out')
  metadata = episodes.read_metadata(directory)
  differing = [
      f'{key} is {metadata.get(key)} there and {value} here'
      for key, value in request.items() if metadata.get(key, value) != value]
  if differing:
    raise ValueError(
        f'{directory} holds another dataset ({", ".join(differing)}); '
        'choose another --out')
  found = len(store.Store(directory).episodes)
  complete = metadata.get('complete', False)
  if complete and metadata.get('episodes') != found:
    raise ValueError(
        f'{directory} is marked complete with {metadata.get("episodes")} '
        f'episodes but has {found}; choose another --out')
  return found, complete


def versions():
  """Commit and versions of everything that decides what is collected."""
  packages = (
      'dm_control', 'gymnasium', 'metaworld', 'mujoco', 'numpy', 'pillow',
      'robodesk', 'tensorflow')
  found = {name: importlib.metadata.version(name) for name in packages}
  return {**found, 'python': platform.python_version(), 'commit': commit()}


def commit():
  """The commit of this program, or None where it is not in a repository."""
  if not (online.ROOT / '.git').exists():
    return None
  try:
    return subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--abbrev=40',
         '--exclude=*'], cwd=online.ROOT, check=True, capture_output=True,
        text=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None


def parse_arguments(argv=None):
  """Parses the command line; its names are those of the metadata."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.datasets.collect', allow_abbrev=False,
      description='Make an offline dataset by running a policy, or from the '
      'training of an agent.',
      epilog='The same command makes the same episodes. Stopped half way, it '
      'continues after the last complete episode with fresh random numbers. '
      'Nothing is ever deleted.',
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  add = parser.add_argument
  add('--task', required=True, default=argparse.SUPPRESS,
      help='for example dmc_walker_downhill')
  add('--policy', choices=['random', *online.SHARES, 'expert'],
      default='random',
      help='random: uniform within the action bounds. medium_replay, '
      'medium_expert: what an online DreamerV2 agent sees until it has '
      'reached a third, or 99 %%, of its highest return. expert: what such '
      'an agent does at the end')
  add('--steps', dest='requested_frames', type=int, required=True,
      metavar='N', default=argparse.SUPPRESS,
      help='environment frames, action repeat included; whole episodes are '
      'written until there are at least this many. For medium_*, how long '
      'the agent is trained after its random actions')
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
  add_agent_arguments(parser)
  argv = list(sys.argv[1:] if argv is None else argv)
  end = argv.index('--') if '--' in argv else len(argv)
  args = parser.parse_args(argv[:end], argparse.Namespace(
      agent_logdir=None, agent_configs=[], agent_flags=argv[end + 1:]))
  if args.policy in online.SHARES:
    args.agent_configs = args.agent_configs or ['small']
    args.agent_logdir = args.agent_logdir or args.out.with_name(
        f'{args.out.name}-agent')
  if args.agent_logdir:
    args.agent_logdir = args.agent_logdir.expanduser().resolve()
  return args


def add_agent_arguments(parser):
  """Adds the arguments of policies that are learned."""
  add = parser.add_argument_group(
      'online agent', 'For medium_*, what follows -- is given to train.py: '
      '... -- --schedule.source_steps 5000').add_argument
  add('--agent_logdir', type=pathlib.Path, metavar='DIR',
      default=argparse.SUPPRESS,
      help='log directory of train.py, which medium_* make, continue or find '
      'finished; one agent serves all policies (default: that of --out with '
      '-agent at its end)')
  add('--agent_configs', nargs='+', metavar='NAME', default=argparse.SUPPRESS,
      help='overlays of configs/ for medium_* (default: small)')


if __name__ == '__main__':
  sys.exit(main())
