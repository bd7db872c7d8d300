"""Processes of benchmarks.train_step.contender that take turns.

All stay resident and one works at a time, so that what else the machine does
slows them alike, and ratios are taken within each round.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks import official
from coworld_tf import experiments
from dreamerv2_base import progress

WARMUP = 2  # Updates, as the official agent is traced in both.


class Contender(contextlib.AbstractContextManager):
  """A process that makes steps when told; it ends with the context."""

  def __init__(self, argv):
    """Starts it.

    Args:
      argv: its arguments, see contender.py.
    """
    self.argv = argv
    self._log = tempfile.TemporaryFile('w+')
    self._process = subprocess.Popen(
        [sys.executable, '-m', 'benchmarks.train_step.contender', *argv],
        cwd=experiments.ROOT, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=self._log, start_new_session=True,
        env={**environment(argv), 'TF_CPP_MIN_LOG_LEVEL': '3'})

  def __call__(self, step, count):
    """Makes a step some times.

    Returns:
      Dict of cpu and wall, seconds per step; traces so far; and peak_mb.

    Raises:
      RuntimeError: the process ended.
    """
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(json.dumps([step, count]) + '\n')
      self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      self._log.seek(0)
      last = self._log.read().strip().split('\n')[-1]
      raise RuntimeError(f"{' '.join(self.argv)} ended: {last}")
    return json.loads(line)

  def __exit__(self, *_):
    # It ends after its last line, but may be in the middle of a step.
    self._process.kill()
    self._process.communicate()
    self._log.close()


def command(kind, flags, settings, options=()):
  """Returns the arguments of a contender.

  Args:
    kind: what it does, see contender.KINDS.
    flags: arguments of train.py that make its size.
    settings: further ones as {key: value}; float32 and compiled by default.
    options: its own.
  """
  settings = {'precision': '32', 'compile': 'graph', **settings}
  words = [
      word for key, x in settings.items() for word in (f'--{key}', str(x))]
  return [*options, kind, *flags, *words]


def environment(argv):
  """Returns the environment variables of a contender."""
  theirs = any(word.startswith('official') for word in argv)
  return official.environment() if theirs else os.environ


def update_all(contenders, rounds, updates, label):
  """Lets contenders update in turns.

  Args:
    contenders: {name: arguments of its process}.
    rounds: number of turns of each.
    updates: that each makes in a turn.
    label: what is measured, for the progress.

  Returns:
    {name: {'first': seconds of the first update, 'rounds': list of answers,
    see Contender}}. The first updates are no part of the rounds.
  """
  found = {}
  total = (rounds + WARMUP) * len(contenders)
  with contextlib.ExitStack() as stack:
    bar = progress.Progress(total, label, unit='turn')
    stack.callback(bar.close)
    processes = {}
    for name, argv in contenders.items():
      process = processes[name] = stack.enter_context(Contender(argv))
      first, *_ = [process('update', 1) for _ in range(WARMUP)]
      found[name] = {'first': first['wall'], 'rounds': []}
      bar.update(WARMUP)
    for _ in range(rounds):
      for name, process in processes.items():
        found[name]['rounds'].append(process('update', updates))
        bar.update()
  return found


def threads():
  """Returns how many threads contenders compute with."""
  # Zero is TensorFlow's default too.
  told = int(os.environ.get('TF_NUM_INTRAOP_THREADS') or 0)
  return told or len(os.sched_getaffinity(0))


def column(entry, key):
  """Returns a number of each round of a contender."""
  return [answer[key] for answer in entry['rounds']]


def ratio(above, below, key='cpu'):
  """Returns the median over rounds of the ratio of two contenders."""
  pairs = zip(column(above, key), column(below, key), strict=True)
  return statistics.median(x / y for x, y in pairs)


def median(entry, key):
  """Returns the median over rounds."""
  return statistics.median(column(entry, key))
