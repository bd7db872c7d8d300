"""Datasets that come from our own online DreamerV2 agent.

An agent is trained for its whole budget. S(t) is the mean return of its
evaluation at t and of up to two before:

  evaluations   e0   e1   e2   e3   e4   e5     10 episodes each
  S             s0   s1   s2   s3   s4   s5     S_max is the highest
  episodes      |--------------|                all up to the first s that is
                                                at least the share of S_max

medium_replay keeps the episodes until a third of S_max, medium_expert until
nearly all of it, those of random actions at the start included. expert is
what the agent does at the end.
"""

import contextlib
import pathlib
import subprocess
import sys

import numpy as np

from coworld_tf import checkpoints, cli, inputs
from coworld_tf.analysis import records
from dreamerv2_base import files, flags, progress

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Shares of S_max at which the datasets end.
SHARES = {'medium_replay': 1 / 3, 'medium_expert': 0.99}
WINDOW = 3  # Evaluations that are averaged.
EPISODES = 10  # Of each evaluation.


def smooth(scores):
  """Means of each score and of up to `WINDOW - 1` before it."""
  return [
      float(np.mean(scores[max(0, end - WINDOW): end]))
      for end in range(1, len(scores) + 1)]


def cut(scores, share):
  """Index of the first evaluation at which enough is learned.

  Args:
    scores: mean return of each evaluation, the first before any training.
    share: of the highest smoothed score, in (0, 1].

  Raises:
    ValueError: there are no scores, or the highest is not positive, so that
      a share of it means nothing.
  """
  smoothed = smooth(scores)
  highest = max(smoothed, default=0.0)
  if highest <= 0:
    raise ValueError(
        f'the highest smoothed return of {len(scores)} evaluations is '
        f'{highest:.4g}: there is no part of it to cut at; give the agent '
        'a larger budget, or a task with positive returns')
  return next(
      index for index, score in enumerate(smoothed)
      if score >= share * highest)


def agent_flags(args):
  """Arguments of train.py for the agent asked for.

  Raises:
    ValueError, OSError: they are not what train.py accepts.
  """
  overlays = ['--configs', *args.agent_configs]
  block = flags.parse(
      [*overlays, *args.agent_flags], ROOT / 'configs').schedule.source_steps
  if block < 1 or args.requested_frames % block:
    raise ValueError(
        f'--steps is {args.requested_frames}: must be a multiple of '
        f'schedule.source_steps, which is {block}')
  fixed = {
      'method': 'dreamerv2', 'task': args.task, 'seed': args.seed,
      'logdir': args.agent_logdir,
      **{key: getattr(args, key) for key in inputs.SETTINGS},
      'schedule.source_pretrain': args.requested_frames // block,
      'evaluation.source_episodes': EPISODES,
      'evaluation.final_episodes': EPISODES, 'evaluation.envs': args.envs,
      'capacity': 0}  # Nothing may be deleted.
  parts = [f'--{key}={value}' for key, value in fixed.items()]
  argv = [*overlays, *parts, *args.agent_flags]
  config = flags.parse(argv, ROOT / 'configs')
  inputs.check(config)
  inputs.check_logdir(config, args.agent_logdir)
  return argv


def is_finished(logdir):
  """Whether train.py has done everything in its log directory."""
  return all(
      (logdir / name).exists() for name in ('config.yaml', 'summary.json'))


def train(argv):
  """Trains the agent, or what is left of it, in a process of its own.

  Raises:
    SystemExit: it failed and has told why.
  """
  status = subprocess.run(
      [sys.executable, str(ROOT / 'train.py'), *argv], cwd=ROOT).returncode
  if status:
    raise SystemExit(status)


def learning_curve(logdir):
  """Frames, episodes and mean return at each evaluation, as lists.

  Raises:
    ValueError, OSError: the log is missing, damaged or of an older version.
  """
  path = logdir / 'evaluations.jsonl'
  # A line that a crash left is repeated later.
  points = {}
  for record in records.read_evaluations(path):
    if record['policy'] == 'source':
      points[record['step']] = record
  try:
    return {
        'frames': [point['source_frames'] for point in points.values()],
        'episodes': [point['source_episodes'] for point in points.values()],
        'returns': [
            float(np.mean(point['returns'])) for point in points.values()]}
  except KeyError as error:
    raise ValueError(f'{path}: of an older version, no {error}') from None


def choose(logdir, policy):
  """Facts on where the episodes of a finished agent are cut, as metadata.

  Raises:
    ValueError, OSError: as for `cut` and `learning_curve`.
  """
  curve = learning_curve(logdir)
  smoothed = smooth(curve['returns'])
  share = SHARES[policy]
  index = cut(curve['returns'], share)
  return {
      'share': share, 's_max': max(smoothed),
      'threshold': share * max(smoothed), 's_cut': smoothed[index],
      'cut_frames': curve['frames'][index],
      'cut_episodes': curve['episodes'][index],
      'smoothing': f'mean of up to {WINDOW} evaluations, none later',
      'evaluation_episodes': EPISODES,
      'learning_curve': {**curve, 'smoothed': smoothed}}


def missing(replay, data, count):
  """What a dataset lacks of the first `count` episodes of a replay.

  Raises:
    ValueError: the dataset holds other episodes, or the replay too few.
  """
  wanted, found = replay.episodes[:count], data.episodes
  sums = lambda entries: [entry['crc32'] for entry in entries]
  if len(wanted) < count or sums(wanted[:len(found)]) != sums(found):
    raise ValueError(
        f'{data.directory}: its {len(found)} episodes are not the first of '
        f'{count} in {replay.directory}; choose another --out')
  return wanted[len(found):]


def copy(replay, data, entries):
  """Appends episodes of a replay to a dataset."""
  total = len(entries) + len(data.episodes)
  bar = progress.Progress(total, 'copy', len(data.episodes), 'episode')
  with contextlib.closing(bar):
    for entry in entries:
      data.append(replay.read(entry))
      bar.update()


def description(config):
  """Settings of an agent for metadata, without places on this machine."""
  return {
      key: value for key, value in config.to_dict().items()
      if key != 'logdir'}


def load_policy(logdir, request, env, seed):
  """The last checkpoint of a run as a policy, in evaluation mode.

  Args:
    logdir: of a finished run of train.py.
    request: task and settings of the simulator.
    env: simulator that tells the spaces.
    seed: of the policy's noise.

  Returns:
    The policy, and facts on the agent for metadata.

  Raises:
    ValueError, OSError: there is no finished online agent for these.
  """
  if not is_finished(logdir):
    raise ValueError(f'{logdir}: holds no finished run of train.py')
  config = checkpoints.read_config(logdir)
  expected = {
      'method': 'dreamerv2',
      **{key: request[key] for key in ('task', *inputs.SETTINGS)}}
  for key, value in expected.items():
    # Cameras may be numbers.
    if str(config[key]) != str(value):
      raise ValueError(
          f"{logdir}: trained with {key} '{config[key]}', not '{value}'; "
          'choose another --agent_logdir or the same settings')
  with cli.quiet_loading():
    from dreamerv2_base import agent
  learner, _ = checkpoints.load_agent(
      config, logdir, env.obs_space['image'], env.act_space['action'])
  facts = {
      'agent': description(config),
      'agent_summary': files.read_json(logdir / 'summary.json')}
  return agent.AgentPolicy(learner, seed, 'eval'), facts
