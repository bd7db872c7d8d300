"""Prints the commands behind a table or figure of the paper, or runs them.

  python -m coworld_tf.reproduce table3 --scale small
  python -m coworld_tf.reproduce table3 --scale small --run --jobs 2

Run again, it goes on where it was.
"""

import argparse
import os
import pathlib
import shlex
import subprocess
import sys
import time

from coworld_tf import cli, estimates, experiments, processes
from dreamerv2_base import files, progress

ROOT = experiments.ROOT
PAUSE = 0.2  # Seconds between looks at the processes.


def main(argv=None):
  """Runs the command line; returns the exit status."""
  args = parse_arguments(argv)
  with cli.input_errors():
    check(args)
    steps = experiments.plan(
        args.experiment, args.scale, args.out, args.seeds, args.pairs,
        args.methods)
    experiments.check_settings(steps)
    show(args, steps)
  processes.listen()
  try:
    times = measure(args, steps)
    return run(args, steps, times) if args.run else 0
  except KeyboardInterrupt:
    print('stopped; the same command continues', file=sys.stderr)
    return 130


def run(args, steps, times):
  """Runs and compares what is not done yet; returns the exit status."""
  logs = ROOT / args.out / 'logs'
  with cli.input_errors():
    logs.mkdir(parents=True, exist_ok=True)
    execution = Execution(steps, args.jobs, logs, times)
  try:
    with cli.full_disk():
      execution.run()
  finally:
    execution.stop()
  finished = [
      step for step in steps
      if step.needs and step.name not in execution.failed]
  status = run_compare(args, finished) if finished else 1
  for name, reason in execution.failed.items():
    print(f'failed: {name}: {reason}', file=sys.stderr)
  return int(bool(execution.failed or status))


def parse_arguments(argv=None):
  """Parses the command line."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.reproduce', allow_abbrev=False,
      description='Print the commands behind a table or figure of the paper, '
      'or run them.')
  add = parser.add_argument
  add('experiment', choices=experiments.EXPERIMENTS)
  add('--scale', choices=experiments.SCALES, required=True,
      help='paper: the sizes of the paper; small: for a CPU; smoke: to see '
      'that everything runs')
  add('--run', action='store_true',
      help='run what is not done yet, instead of printing only')
  add('--jobs', type=int, default=1, metavar='N',
      help='commands that run at the same time and share the cores '
      '(default 1)')
  add('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='SEED',
      help='of the runs (default 0 1 2)')
  add('--pairs', nargs='+', default=[], metavar='SOURCE-TARGET',
      help='for example WW-WD (default: all)')
  add('--methods', nargs='+', default=[], choices=experiments.METHODS,
      metavar='METHOD',
      help='some of %(choices)s (default: those of the paper)')
  add('--out', type=pathlib.Path, metavar='DIR',
      help='datasets, runs and logs are in DIR/SCALE, which experiments '
      'share (default runs)')
  args = parser.parse_args(argv)
  out = (args.out or ROOT / 'runs').expanduser().resolve()
  args.out = out / args.scale
  if args.out.is_relative_to(ROOT):
    args.out = args.out.relative_to(ROOT)
  return args


def check(args):
  """Raises ValueError for what the plan does not check."""
  if args.jobs < 1:
    raise ValueError(f'--jobs is {args.jobs}: must be at least 1')
  if min(args.seeds) < 0:
    raise ValueError(f'--seeds: {min(args.seeds)} is negative')
  out = ROOT / args.out
  for place in (out, *out.parents):
    if place.exists() and not place.is_dir():
      raise ValueError(f'--out: {place} is a file')


def show(args, steps):
  """Prints the plan as a shell script."""
  experiment = experiments.EXPERIMENTS[args.experiment]
  print(f'# {args.experiment}: {experiment.title}, at the scale {args.scale}')
  if experiment.left_out:
    print(f"# Not implemented: {', '.join(experiment.left_out)}")
  data = [step for step in steps if not step.needs]
  runs = [step for step in steps if step.needs]
  for title, group in (('datasets', data), ('runs', runs)):
    print(f'\n# {len(group)} {title}')
    for step in group:
      print(('# done: ' if is_done(step) else '') + command_line(step.argv))
  print('\n# 1 comparison')
  print(command_line(compare(args, runs)), flush=True)


def measure(args, steps):
  """Prints how long each step that is left takes; returns it in seconds."""
  if args.scale not in estimates.UPDATES:
    print('\n# About a minute for each', flush=True)
    return {}
  try:
    with cli.input_errors():
      times = estimates.estimate(
          [step for step in steps if not is_done(step)], args.scale,
          ROOT / args.out, lambda text: print(f'# {text}', file=sys.stderr))
  except estimates.Failed as error:
    print(f'warning: no estimate, because {error}', file=sys.stderr)
    return {}
  print('\n# Hours of each alone on this machine, from short runs with '
        f'{estimates.UPDATES[args.scale]} updates;\n# what is begun is '
        'counted whole, what is done not at all')
  for name, seconds in times.items():
    print(f'# {seconds / 3600:10.2f}  {name}')
  print(f'# {sum(times.values()) / 3600:10.2f}  all, one after the other',
        flush=True)
  return times


def command_line(argv):
  """A command as a line of shell."""
  return shlex.join(['python', *argv])


def compare(args, runs):
  """Arguments of the command that compares runs."""
  return (
      '-m', 'coworld_tf.compare', '--runs',
      *(str(step.done.parent) for step in runs),
      '--out', str(args.out / args.experiment))


def run_compare(args, runs):
  """Compares runs; returns the exit status."""
  command = [sys.executable, *compare(args, runs)]
  return subprocess.run(command, cwd=ROOT).returncode


def is_done(step):
  """Whether a step has left its result.

  Raises:
    ValueError, OSError: it is damaged.
  """
  path = ROOT / step.done
  return path.exists() and files.read_json(path).get('complete', True)


class Execution:
  """Runs steps, several at a time, each once those it needs are done."""

  def __init__(self, steps, jobs, logs, times):
    """Prepares the steps that are not done.

    Args:
      steps: list of experiments.Step.
      jobs: number of processes.
      logs: directory of their output, which exists.
      times: estimated seconds by name of the step, or empty.
    """
    self.times, self.start = times, time.time()
    self.waiting = [step for step in steps if not is_done(step)]
    self.total, self.jobs, self.logs = len(self.waiting), jobs, logs
    self.names = [step.name for step in self.waiting]
    self.running = {}  # Processes and start times by step.
    self.failed = {}  # Reasons by name.
    share = str(max(1, os.cpu_count() // jobs))
    self.environment = {
        **os.environ, 'TF_NUM_INTRAOP_THREADS': share,
        'TF_NUM_INTEROP_THREADS': share}

  def run(self):
    """Returns when no step is left that could run."""
    while self.waiting or self.running:
      for step in list(self.waiting):
        if self.failed.keys() & set(step.needs):
          self.waiting.remove(step)
          self.failed[step.name] = f"needs {', '.join(step.needs)}"
        elif len(self.running) < self.jobs and self._ready(step):
          self.waiting.remove(step)
          self._start(step)
      for step, (process, _) in list(self.running.items()):
        if process.poll() is not None:
          self._finish(step)
      time.sleep(PAUSE)

  def stop(self):
    """Ends all processes, those that they started included."""
    processes.stop([process for process, _ in self.running.values()])

  def _ready(self, step):
    unfinished = {other.name for other in (*self.waiting, *self.running)}
    return not unfinished & set(step.needs)

  def _start(self, step):
    path = self._log(step)
    with path.open('ab') as log:
      process = processes.start(
          step.argv, env=self.environment, stdout=log,
          stderr=subprocess.STDOUT)
    self.running[step] = process, time.time()
    self._say(f'started {step.name}, log {path}')

  def _finish(self, step):
    process, start = self.running.pop(step)
    duration = progress.duration(time.time() - start)
    lines = self._log(step).read_text(errors='replace').split('\n')
    last = next((line for line in reversed(lines) if line.strip()), '')
    try:
      if process.returncode == 0 and is_done(step):
        self._say(f'finished {step.name} after {duration}')
        return
    except ValueError as error:
      last = error
    self.failed[step.name] = f'status {process.returncode}, {last}'
    self._say(f'FAILED {step.name} after {duration}: {last}')

  def _say(self, text):
    left = len(self.waiting) + len(self.running)
    clock = time.strftime('%H:%M:%S')
    line = f'{clock} [{self.total - left}/{self.total}] {text}'
    if left and left < self.total:
      line += f', about {progress.duration(self._left())} left'
    print(line, flush=True)

  def _left(self):
    """Seconds left, at the pace so far against the estimates."""
    # A second at least, because what is only copied is estimated as nothing.
    weights = {
        name: max(self.times.get(name, 1.0), 1.0) for name in self.names}
    unfinished = [*self.waiting, *self.running]
    left = sum(weights[step.name] for step in unfinished)
    done = sum(weights.values()) - left
    return (time.time() - self.start) * left / done

  def _log(self, step):
    return self.logs / f'{step.name}.log'


if __name__ == '__main__':
  sys.exit(main())
