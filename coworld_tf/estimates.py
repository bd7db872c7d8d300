"""How long steps take on this machine, from a short run of each method.

A short run has the networks and batches of the real one, a few updates of each
phase and short episodes. The seconds in its log tell the time of an update,
together with the agent steps that go with it in a simulator. Of its
evaluations the long one tells the time of a step in all their simulators, and
the short one that of starting them. Not counted: checkpoints, videos, and
datasets beyond the training of their agent. A sequence of the Fisher
information counts as an update. What is begun counts whole, except that an
agent that is finished only has to be copied.
"""

import json
import math
import subprocess
import tempfile

from coworld_tf import cli, evaluate, experiments, inputs, processes
from coworld_tf.datasets import online
from dreamerv2_base import files, logger

# Updates of each phase; the first is not counted, because it compiles.
UPDATES = {'paper': 4, 'small': 40}
# Frames of an episode without a limit of ours.
FRAMES = {'dmc': 1000, 'metaworld': 500, 'robodesk': 500}
SHORT, LONG = 2, 10  # Episodes of the two evaluations.


class Failed(Exception):
  """A short run failed, so that nothing is known of the time."""


def estimate(steps, scale, out, say):
  """Estimates the seconds of steps, each alone on the machine.

  Args:
    steps: list of experiments.Step.
    scale: name in UPDATES.
    out: directory where measurements are kept.
    say: function of a text that tells what is being measured.

  Returns:
    Dict of seconds by name of the step.

  Raises:
    Failed: a short run failed.
    ValueError, OSError: earlier measurements are damaged, or these cannot be
      kept.
  """
  path = out / 'measured.json'
  known, found = earlier(path), {}
  out.mkdir(parents=True, exist_ok=True)
  for step in steps:
    if has_agent(step):
      found[step.name] = 0.0
      continue
    argv = arguments(step, scale)
    config = experiments.configuration(argv)
    suite = evaluate.task(config).partition('_')[0]
    key = f'{config.method} {suite}'
    if key not in known:
      say(f'measuring {key}')
      known[key] = measure(argv, config, UPDATES[scale])
      with files.replacing(path) as temporary:
        temporary.write_text(json.dumps(known, indent=2) + '\n')
    length = config.time_limit or FRAMES[suite] // config.action_repeat
    found[step.name] = seconds(config, length, known[key])
  return found


def earlier(path):
  """Reads what was measured before, by method and suite.

  Raises:
    ValueError, OSError: the file is damaged.
  """
  known = files.read_json(path) if path.exists() else {}
  for name, entry in known.items():
    if not isinstance(entry, dict) or not {'step', 'start'} <= set(entry) or (
        not all(isinstance(x, (int, float)) for x in entry.values())):
      raise ValueError(
          f"{path}: '{name}' is no measurement; remove the file to measure "
          'again')
  return known


def has_agent(step):
  """Whether only the episodes of a finished agent are to be copied."""
  return not step.needs and online.is_finished(
      experiments.ROOT / value(step, '--agent_logdir'))


def value(step, flag):
  """The value of a flag of a step."""
  return step.argv[step.argv.index(flag) + 1]


def arguments(step, scale):
  """Arguments of train.py for a run, or for the agent of a dataset."""
  if step.needs:
    return list(step.argv[1:])
  start = step.argv.index('--agent_configs') + 1
  end = step.argv.index('--')
  size = experiments.SCALES[scale]
  limit = value(step, '--time_limit') if '--time_limit' in step.argv else 0
  return list(map(str, [
      '--configs', *step.argv[start: end], '--method', 'dreamerv2', '--task',
      value(step, '--task'), '--quality', value(step, '--quality'),
      '--time_limit', limit,
      '--schedule.source_pretrain', size.frames // size.block,
      '--schedule.source_steps', size.block, '--evaluation.source_episodes',
      10, '--evaluation.final_episodes', 10]))


def short_run(config, updates):
  """Settings that make a run short.

  Args:
    config: configuration of the real run.
    updates: of each phase.
  """
  # An episode that is stored has a row more than steps.
  length = config.dataset.length + 10
  frames = updates * config.action_repeat * config.train_every
  # Three evaluations before blocks: the first may come before any update, the
  # next compiles a prediction, and the last is what counts.
  alone = not inputs.target_tasks(config)
  return {
      'time_limit': length, 'log_every': 1, 'pretrain': 0,
      'overlap': 'none', 'checkpoint_every': 10 ** 6,
      'schedule.warmup': 1, 'schedule.rounds': 1,
      'schedule.prefill': 2 * length * config.action_repeat,
      'schedule.source_pretrain': 3 if alone else 2,
      'schedule.source_steps': frames,
      'schedule.target_blocks': 3, 'schedule.target_steps': frames,
      'schedule.model_updates': updates, 'ewc.sequences': 1,
      'evaluation.target_episodes': SHORT, 'evaluation.source_episodes': SHORT,
      'evaluation.final_episodes': LONG}


def measure(argv, config, updates):
  """Makes a short run; returns seconds by phase, of a step and of a start.

  Args:
    argv: arguments of train.py for the real run.
    config: what they stand for.
    updates: of each phase.

  Raises:
    Failed: the run failed.
  """
  short = short_run(config, updates)
  length = short['time_limit']
  with tempfile.TemporaryDirectory() as directory:
    short['logdir'] = f'{directory}/run'
    if inputs.target_tasks(config):
      short['offline_dir'] = f'{directory}/data'
      _python(
          '-m', 'coworld_tf.datasets', 'collect', '--task', config.target_task,
          '--steps', 3 * length * config.action_repeat, '--time_limit', length,
          '--action_repeat', config.action_repeat, '--quality', config.quality,
          '--out', short['offline_dir'])
    _python('train.py', *_without(argv, short), *(
        f'--{key}={value}' for key, value in short.items()))
    records = logger.read_metrics(f'{directory}/run/metrics.jsonl')
  return times(records, length, config.evaluation.envs)


def times(records, length, envs):
  """Seconds by phase, of a step and of a start, from the log of a short run.

  Args:
    records: of metrics.jsonl, with a line for each update and evaluation.
    length: agent steps of an episode.
    envs: simulators of an evaluation.
  """
  groups = []
  for before, record in zip([{}, *records], records):
    if record['phase'] != before.get('phase'):
      groups.append((record['phase'], [before.get('seconds', 0.0)]))
    groups[-1][1].append(record['seconds'])
  # Later blocks replace earlier ones, which compile and load more.
  spans = {
      phase: (marks[-1] - marks[1]) / (len(marks) - 2)
      for phase, marks in groups if not phase.startswith('evaluate')
      and len(marks) > 2}
  evaluations = {
      record['phase']: record['evaluation_seconds'] for record in records
      if 'evaluation_seconds' in record}
  first = evaluations.get('evaluate_target', evaluations.get(
      'evaluate_source'))
  long, short = [math.ceil(count / envs) * length for count in (LONG, SHORT)]
  step = max(evaluations['evaluate_final'] - first, 0.0) / (long - short)
  return {
      **spans, 'step': step, 'start': max(first - short * step, 0.0)}


def seconds(config, length, known):
  """Seconds of a run, as if evaluations were waited for.

  Args:
    config: its configuration.
    length: agent steps of an episode.
    known: what `times` gives.
  """
  with cli.quiet_loading():
    from coworld_tf import methods
  amounts, repeat = config.evaluation, config.action_repeat
  updates = lambda frames: frames // (repeat * config.train_every)
  source = known.get('source', 0.0)
  model = known.get('target_model', known.get('target', 0.0))
  total = config.pretrain * source * len(inputs.source_tasks(config))
  for phase, amount, _ in methods.make_blocks(config):
    match phase:
      case 'evaluate_source' | 'evaluate_target':
        domain = phase.partition('_')[2]
        total += _evaluation(
            amounts[f'{domain}_episodes'], amounts.envs, length, known)
      case 'evaluate_random' | 'evaluate_final':
        total += _evaluation(
            amounts.final_episodes, amounts.envs, length, known)
      case 'prefill':
        total += amount / repeat * known['step']
      case 'source' | 'source_aligned' | 'target':
        total += updates(amount) * known.get(phase, source)
      case 'target_model' | 'target_model_alone' | 'hand_over':
        total += amount * model
  return total


def _evaluation(episodes, envs, length, known):
  return known['start'] + math.ceil(episodes / envs) * length * known['step']


def _without(argv, keys):
  """Leaves out flags with their values."""
  kept, keep = [], True
  for word in argv:
    if word.startswith('--'):
      keep = word[2:] not in keys
    if keep:
      kept.append(word)
  return kept


def _python(*argv):
  process = processes.start(
      list(map(str, argv)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
      text=True, errors='replace')
  try:
    _, errors = process.communicate()
  finally:
    processes.stop([process])
  if process.returncode:
    last = (errors.strip().splitlines() or ['no message'])[-1]
    raise Failed(f'a short run to measure the time failed: {last}')
