"""A small run of train.py that faults are done to, and its end state."""

import contextlib
import json
import os
import pathlib
import resource
import runpy
import subprocess
import sys
import time
from multiprocessing import context, forkserver

import numpy as np

from coworld_tf import checkpoints, cli
from dreamerv2_base import store

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOGS = 'metrics.jsonl', 'evaluations.jsonl'
# Change with every start of a process.
CLOCKS = 'seconds', 'time', 'evaluation_seconds'
PATIENCE = 400  # Seconds that a run may take.
# Each kind of block in as few updates as possible. Lines of metrics are means
# over several updates, and blocks are no multiples of episodes.
FLAGS = (
    '--task dummy_2 --source_task dummy_3 --target_task dummy_2 '
    '--dataset.length 3 --dataset.batch 2 --imag_horizon 2 --time_limit 7 '
    '--log_every 2 --train_every 4 --schedule.prefill 14 '
    '--schedule.source_steps 10 --schedule.target_steps 8 '
    '--schedule.model_updates 2 --rssm.ensemble 2 --evaluation.envs 1 '
    '--evaluation.final_episodes 1 --simulator_timeout 10')
METHODS = {
    'dreamerv2': '--schedule.source_pretrain 2',
    # In graphs, or an evaluation would not be beside updates.
    'coworld': '--schedule.rounds 1 --compile graph', 'offline_dv2': ''}
DATA = '--task dummy_2 --steps 40 --time_limit 7 --quality fast'


class Lost(Exception):
  """A run did what no run may do, which the message says."""


class Run:
  """The run of a method, which is started with the same command each time."""

  def __init__(self, method, data, place):
    """Prepares a run; starts nothing yet.

    Args:
      method: one of METHODS.
      data: directory of the offline data.
      place: empty directory, which gets what the processes print, and `disk`
        with the log directory.
    """
    self.place, self.disk = place, place / 'disk'
    self.logdir = self.disk / 'run'
    self.disk.mkdir(parents=True)
    self.argv = [
        '--configs', method, 'debug', *FLAGS.split(),
        *METHODS[method].split(), '--offline_dir', str(data), '--logdir',
        str(self.logdir)]
    self.starts, self.reached, self.finished = [], (0, 0), False
    self.again = np.zeros(2, int)  # Updates and episodes made again.

  def start(self, every=120, limit=None):
    """Starts the command; returns the process.

    Args:
      every: seconds between checkpoints within a block.
      limit: most bytes of a file, None for any.
    """
    facts = self.facts()
    if facts:
      known = facts['position']['updates'], {
          name: x['episodes'] for name, x in facts['replays'].items()}
      known = np.array([sum(x.values()) for x in known])
      self.again += np.maximum(np.array(self.reached) - known, 0)
    self.starts.append(self.place / f'output-{len(self.starts)}')
    process = context.ForkServerProcess(target=_train, args=[
        [*self.argv, '--checkpoint_every', str(every)], self.starts[-1],
        limit])
    process.start()
    return process

  def finish(self, process, *allowed):
    """Waits for the end of a process; returns its status.

    Args:
      process: of `start`.
      *allowed: statuses other than 0 that it may end with.

    Raises:
      Lost: it ends otherwise, hangs, or prints more than an error.
    """
    process.join(PATIENCE)
    if process.exitcode is None:
      process.kill()
      process.join()
      raise Lost(f'hangs; see {self.starts[-1]}')
    text, status = self.output(), process.exitcode
    errors = sum(line.startswith('error: ') for line in text.splitlines())
    if (status not in (0, *allowed) or 'Traceback' in text
        or errors != (status == 2)):
      raise Lost(f'status {status}, {errors} errors; see {self.starts[-1]}')
    self.finished = not status
    self.reached = _updates(self.logdir), len(_index(self.logdir)[1:])
    return status

  def output(self):
    """Returns what the last process printed."""
    path = self.starts[-1]
    return path.read_text(errors='replace') if path.exists() else ''

  def facts(self):
    """Returns those of the newest checkpoint that is whole, {} if none is."""
    for path in reversed(checkpoints.kept(self.logdir / 'checkpoints')):
      with contextlib.suppress(checkpoints.Damaged, OSError):
        return checkpoints.read(path)
    return {}

  def lines(self):
    """Returns how many lines of metrics there are."""
    path = self.logdir / 'metrics.jsonl'
    return path.read_bytes().count(b'\n') if path.exists() else 0

  def content(self):
    """Returns the bytes of all files that a refused command leaves alone."""
    return {
        path: path.read_bytes() for path in self.logdir.rglob('*')
        if path.is_file() and '.tmp' not in str(path)}


def _train(argv, output, limit):
  """Is train.py as a program in this process."""
  with output.open('wb') as file:
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
  if limit is not None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
  sys.argv = ['train.py', *argv]
  runpy.run_path(str(ROOT / 'train.py'), run_name='__main__')


def prepare():
  """Loads TensorFlow once for all runs, and starts nothing of it."""
  with cli.quiet_loading():
    forkserver.set_forkserver_preload(
        ['benchmarks.fault_runs', 'coworld_tf.methods', 'coworld_tf.report'])
    forkserver.ensure_running()


def collect(path):
  """Makes the offline data."""
  subprocess.run(
      [sys.executable, '-m', 'coworld_tf.datasets.collect', *DATA.split(),
       '--out', path], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def simulators(parent):
  """Returns the process ids of the simulators of a run."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*'):
    with contextlib.suppress(OSError):
      status = (path / 'stat').read_text().rpartition(')')[2].split()
      if int(status[1]) == parent and (
          b'envs.worker' in (path / 'cmdline').read_bytes()):
        found.append(int(path.name))
  return found


def differences(one, other):
  """Returns what two finished log directories differ in, but for clocks."""
  found = [
      name for name in LOGS if _records(one / name) != _records(other / name)]
  found += [
      path.name for path in sorted((one / 'videos').iterdir())
      if not (other / 'videos' / path.name).exists()
      or path.read_bytes() != (other / 'videos' / path.name).read_bytes()]
  last = [checkpoints.pick(path, 'last') for path in (one, other)]
  first, second = map(_variables, last)
  found += sorted(
      key for key in {*first, *second}
      if first.get(key) != second.get(key))
  first, second = map(checkpoints.read, last)
  for facts in (first, second):
    facts['position'].pop('seconds')
  found += [
      key for key in ('position', 'replays') if first[key] != second[key]]
  for name in first['replays']:
    stores = [store.Store(x / f'{name}_episodes') for x in (one, other)]
    if stores[0].episodes != stores[1].episodes:  # With sums of all rows.
      found.append(f'episodes of {name}')
    for data in stores:
      found += [f'rows of {x["id"]}' for x in data.episodes if data.verify(x)]
  return found


def _records(path):
  return [
      {key: x for key, x in json.loads(line).items() if key not in CLOCKS}
      for line in path.read_text().splitlines()]


def _variables(path):
  """Type, shape and bytes of the variables of a checkpoint, by name."""
  with cli.quiet_loading():
    import tensorflow as tf
  reader = tf.train.load_checkpoint(str(path / checkpoints.VARIABLES))
  arrays = {
      key: np.asarray(reader.get_tensor(key))
      for key in reader.get_variable_to_shape_map()
      if 'CHECKPOINTABLE' not in key}
  return {
      key: (x.dtype, x.shape, x.tobytes()) for key, x in arrays.items()}


def _updates(logdir):
  """Updates of all agents by the last whole line of the metrics."""
  path = logdir / 'metrics.jsonl'
  text = path.read_bytes() if path.exists() else b''
  lines = text[:text.rfind(b'\n') + 1].splitlines()
  return json.loads(lines[-1])['step'] if lines else 0


def _index(logdir):
  path = logdir / 'source_episodes' / store.INDEX
  return path.read_bytes().splitlines() if path.exists() else []


def wait(process, condition):
  """Returns whether a condition comes true before a process ends."""
  deadline = time.monotonic() + PATIENCE
  while not (done := condition()) and process.is_alive():
    if time.monotonic() > deadline:
      return False
    time.sleep(0.01)
  return bool(done)
