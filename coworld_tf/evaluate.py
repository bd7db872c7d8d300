"""Evaluation of policies by whole episodes in fresh simulators.

  python -m coworld_tf.evaluate --logdir runs/walker
  python -m coworld_tf.evaluate --saved_model exports/walker

evaluates the agent of a run of train.py, or a policy that was exported, which
is played in a process of its own that cannot import the training code. Equal
seeds give all methods and runs the same simulators, whose seeds no training
has.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys

from coworld_tf import checkpoints, cli, inputs, limits
from coworld_tf.datasets import collect
from coworld_tf.export import artifact, playing
from dreamerv2_base import episodes, files, logger, progress
from envs import evaluation, worker


def statistics(returns, successes=()):
  """Returns mean, standard error and number of episode returns.

  With successes, a list of bools, also the share of successful episodes.
  """
  found = episodes.return_statistics(returns)
  stats = {
      'mean': found['mean'], 'stderr': found['stderr'],
      'episodes': len(returns)}
  if successes:
    stats['success'] = sum(successes) / len(successes)
  return stats


def main(argv=None):
  """Runs the command line; returns the exit status."""
  args = parse_arguments(argv)
  logger.setup_terminal('coworld_tf', 'envs')
  with cli.input_errors():
    check(args)
    if args.saved_model:
      play, facts = playing.load(args)
    else:
      play, facts = load_run(args)
    if args.task not in ('', facts['task']):
      raise ValueError(
          f"--task: this agent is for '{facts['task']}', not '{args.task}'")
    args.out.mkdir(parents=True, exist_ok=True)
  try:
    ends = playing.PlayerError, worker.WorkerError
    with cli.full_disk(), cli.input_errors(ends):
      facts.update(measure(args, play, facts['updates']))
      with files.replacing(args.out / 'evaluation.json') as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + '\n')
  except KeyboardInterrupt:
    print('stopped; nothing was written', file=sys.stderr)
    return 130
  success = ', {success:.0%} successful' if 'success' in facts else ''
  print((
      '{task}: return {mean:.1f} +- {stderr:.1f} (std {std:.1f}) in '
      '{episodes} episodes' + success).format(**facts))
  print(f'Everything is in {args.out}: evaluation.json, videos')
  return 0


def parse_arguments(argv=None):
  """Parses the command line."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.evaluate', allow_abbrev=False,
      description='Evaluate the agent of a run, or an exported policy.')
  add = parser.add_argument
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument('--logdir', type=pathlib.Path, metavar='RUN',
      help='directory of a run of train.py')
  what.add_argument('--saved_model', type=pathlib.Path, metavar='DIR',
      help='policy of python -m coworld_tf.export')
  add('--task', default='', metavar='TASK',
      help='refuse an agent of another task')
  add('--mode', default='eval', choices=list(artifact.SIGNATURES),
      help='eval: random states and the mode of actions, unless settings say '
      'otherwise; train: both random; mode: nothing random (default eval)')
  add('--episodes', type=int, default=30, metavar='N',
      help='number of episodes (default 30)')
  add('--seed', type=int, default=0, help='of the simulators (default 0)')
  add('--envs', type=int, default=2, metavar='N',
      help='simulators side by side; part of what makes the episodes '
      '(default 2)')
  add('--videos', type=int, default=1, metavar='N',
      help='number of episodes to keep as videos (default 1)')
  add('--checkpoint', default='last', metavar='NAME',
      help='last, best, or a name or path such as ckpt-3 (default last)')
  add('--out', type=pathlib.Path, metavar='DIR',
      help='directory of what is written (default RUN/evaluation, of other '
      'checkpoints RUN/evaluation-NAME, of policies DIR-evaluation)')
  args = parser.parse_args(argv)
  if args.saved_model:
    args.saved_model = args.saved_model.expanduser()
    # Its name, even if it is given as '.'.
    out = os.path.abspath(args.saved_model) + '-evaluation'
    args.out = (args.out or pathlib.Path(out)).expanduser()
    return args
  args.logdir = args.logdir.expanduser()
  # RUN/evaluation is what the run is compared by.
  name = 'evaluation'
  if args.checkpoint != 'last':
    name += '-' + pathlib.Path(args.checkpoint).name
  args.out = (args.out or args.logdir / name).expanduser()
  return args


def check(args):
  """Raises ValueError for numbers out of range and links in the output."""
  limits.check({
      '--episodes': (args.episodes, 1, limits.STEPS),
      '--seed': (args.seed, 0, 2 ** 31 - 1),
      '--envs': (args.envs, 1, limits.ENVS),
      '--videos': (args.videos, 0, limits.STEPS)})
  if args.saved_model and args.checkpoint != 'last':
    raise ValueError(
        f"--checkpoint: '{args.checkpoint}' is for --logdir; an exported "
        'policy is of one checkpoint')
  files.check_links(args.out)


def load(config, args):
  """Builds what is evaluated.

  Returns:
    The agent, a function of a seed that gives a simulator for it, and the
    path of the checkpoint.

  Raises:
    ValueError, FileNotFoundError, WorkerError: there is no agent to load, or
      its simulator does not start.
  """
  with cli.quiet_loading():
    from coworld_tf import methods
  # Only a shared agent has actions that depend on the source.
  tasks = methods.tasks(config) if inputs.is_shared(config) else [task(config)]
  images, simulators = methods.spaces(config, tasks)
  space = methods.agent_spaces(config, simulators)[-1]
  learner, path = checkpoints.load_agent(
      config, args.logdir, images['image'], space, args.checkpoint)
  if not (args.logdir / 'summary.json').exists():
    print(
        f'{args.logdir} is not finished; this is update '
        f'{int(learner.updates)}', file=sys.stderr)
  return learner, methods.make_env(config, task(config), learner), path


def task(config):
  """Returns the task that a run is evaluated in."""
  return (inputs.target_tasks(config) or inputs.source_tasks(config))[0]


def load_run(args):
  """Prepares the agent of a run; returns as `playing.load`."""
  config = checkpoints.read_config(args.logdir)
  learner, make_env, path = load(config, args)
  from dreamerv2_base import agent
  updates = int(learner.updates)

  def play(on_episode):
    return evaluation.evaluate(
        make_env, lambda _: agent.AgentPolicy(learner, args.seed, args.mode),
        args.episodes, args.envs, args.seed, [on_episode])
  return play, {
      'task': task(config), 'method': config.method,
      'training_seed': config.seed, 'updates': updates,
      'checkpoint': str(path),
      'settings': {key: config[key] for key in inputs.SETTINGS}}


def measure(args, play, updates):
  """Plays, writes the videos and returns the facts that were measured."""
  log = logger.Logger(args.out, tensorboard=False)
  bar = progress.Progress(args.episodes, 'evaluate', unit='episode')
  names = (f'episode-{index}' for index in range(args.videos))

  def show(episode, _):
    bar.update()
    name = next(names, None)
    if name:
      log.video(name, episode['image'])

  with contextlib.closing(bar):
    result = play(show)
  log.write(updates)
  found = episodes.return_statistics(result['returns'])
  return {
      **{key: getattr(args, key)
         for key in ('mode', 'seed', 'envs', 'videos')},
      **statistics(result['returns'], result['successes']),
      'std': found['std'],
      **{key: result[key] for key in ('returns', 'lengths', 'successes')},
      'versions': collect.versions()}


if __name__ == '__main__':
  sys.exit(main())
