"""Environments in processes of their own.

TensorFlow and software OpenGL crash in one process, and a spawned or forked
child inherits the imports of its parent. The child here is a fresh interpreter
that shares nothing with the parent but one socket.
"""

import contextlib
import logging
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import weakref
from multiprocessing import connection

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
# Failures of a simulator without a complete episode between that end a run.
LIMIT = 3

_logger = logging.getLogger(__name__)


class WorkerError(RuntimeError):
  """A worker failed, died or gave no answer.

  The first line of the message says which and how, the others are the last
  words of the process.
  """


class Worker:
  """The environment of `envs.make` in another process."""

  def __init__(self, task, seed=0, timeout=120, **settings):
    """Starts the process and waits until it has built the environment.

    Args:
      task: Name as in `envs.make`.
      seed: Seed as in `envs.make`.
      timeout: Seconds to wait for any answer before giving up.
      **settings: Other arguments of `envs.make`.

    Raises:
      ValueError: If the task or a setting is wrong.
      WorkerError: If the process fails, dies or does not answer in time. The
        same holds for `reset` and `step`.
    """
    self._task = task
    self._name = f'{task} (seed {seed})'
    self._timeout = timeout
    self._waiting = False
    self._conn, theirs = connection.Pipe()
    self._log = tempfile.TemporaryFile()
    self._process = subprocess.Popen(
        [sys.executable, '-X', 'faulthandler', '-m',
         'envs.worker_process', str(theirs.fileno())],
        cwd=ROOT, env=_environment(), pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
    theirs.close()
    # Also runs when the worker is garbage and when the interpreter exits.
    self._shut_down = weakref.finalize(
        self, _shut_down, self._conn, self._process, self._log)
    try:
      self.obs_space, self.act_space = self._call(
          'make', task, {'seed': seed, **settings})()
    except Exception:
      self.close()
      raise

  def reset(self, seed=None, blocking=True):
    """Returns the first observation, or a promise of it: call it to wait.

    What a seed does is said in `simulator.Simulator.reset`.
    """
    promise = self._call('reset', seed)
    # A simulator may print without end; the process shares the position.
    if os.fstat(self._log.fileno()).st_size > 2 ** 20:
      self._log.seek(0)
      self._log.truncate()
    if seed is not None:
      self._name = f'{self._task} (seed {seed})'
    return promise() if blocking else promise

  def step(self, action, blocking=True):
    """Returns the next observation, or a promise of it: call it to wait."""
    promise = self._call('step', action)
    return promise() if blocking else promise

  def close(self):
    """Ends the process; can be called more than once."""
    self._shut_down()

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self.close()

  def _call(self, method, *args):
    if not self._shut_down.alive:
      raise RuntimeError(f'{self._name}: the worker is closed')
    if self._waiting:
      raise RuntimeError(f'{self._name}: the last promise was not called')
    # One that has died is found by the promise.
    with contextlib.suppress(OSError):
      self._conn.send((method, args))
    self._waiting = True
    return self._receive

  def _receive(self):
    if not self._waiting:
      raise RuntimeError(f'{self._name}: this promise was called before')
    try:
      if not self._conn.poll(self._timeout):
        raise self._lost(f'gave no answer in {self._timeout} seconds')
      answer, failure = self._conn.recv()
    except (EOFError, OSError) as error:
      raise self._lost('died') from error
    self._waiting = False
    if failure:
      message, trace = failure
      cause = WorkerError(f'{self._name}: the worker failed\n{trace}')
      if message is None:
        raise cause
      raise ValueError(message) from cause
    return answer

  def _lost(self, event):
    """Ends the process and returns an error with its last words."""
    if event == 'died':
      with contextlib.suppress(subprocess.TimeoutExpired):
        event += f' with exit status {self._process.wait(5)}'
        if self._process.returncode == -signal.SIGKILL:
          event += ', perhaps for want of memory: use fewer simulators'
    self._process.kill()
    self._log.seek(0)
    output = self._log.read().decode(errors='replace')[-4000:]
    self.close()
    return WorkerError(f'{self._name}: the worker {event}\n{output}'.strip())


class RestartingWorker:
  """A worker that another takes the place of when it is lost.

  The other has the same task and settings and a seed of its own. An episode
  that began with a seed is repeated in it up to where it was lost, so that an
  accident changes nothing. It is given up if it cannot be repeated, because it
  had no seed, the simulator does other things this time or is lost again.
  """

  def __init__(self, task, seed=0, **settings):
    """Starts the first worker.

    Args:
      task: Name as in `envs.make`.
      seed: Seed of the first worker, from which those of others are derived.
      **settings: Other arguments of `Worker`.

    Raises:
      ValueError: If the task or a setting is wrong.
      WorkerError: If workers are lost again and again, with no complete
        episode between. The same holds for `reset` and `step`.
    """
    self._task, self._seed, self._settings = task, seed, settings
    self._restarts = 0
    self._failures = 0  # Since the last complete episode.
    self._wanted = None  # The last seed that was asked for.
    self._episode = None  # Seed of the episode.
    self._actions = []  # Of the episode, if it has a seed.
    self._obs = None  # The last one.
    self._start(seed)
    self.obs_space = self._worker.obs_space
    self.act_space = self._worker.act_space

  def reset(self, seed=None, blocking=True):
    """Returns the first observation, or a promise of it: call it to wait.

    What a seed does is said in `simulator.Simulator.reset`. After two failures
    without a complete episode another one, derived from it, is used, since the
    simulator might fail with this one every time.
    """
    if seed != self._wanted:
      # Whatever came before is over, though it may have been cut off.
      self._failures, self._wanted = 0, seed
    promise = self._begin(seed)
    def wait():
      obs = self._answer(promise)
      while obs is None:
        obs = self._answer(self._begin(seed))
      self._obs = obs
      return obs
    return wait() if blocking else wait

  def step(self, action, blocking=True):
    """Returns the next observation, or a promise of it: call it to wait.

    It is None if the worker was lost and with it the episode: reset then.
    """
    promise = self._worker.step(action, blocking=False)
    def wait():
      obs = self._answer(promise)
      if self._episode is not None:
        if obs is None:
          obs = self._repeat(action)
        self._actions.append({'action': np.array(action['action'])})
      self._obs = obs
      return obs
    return wait() if blocking else wait

  def close(self):
    """Ends the process; can be called more than once."""
    self._worker.close()

  def _begin(self, seed):
    if seed is not None and self._failures > 1:
      seed = _another(seed, self._failures)
    self._episode, self._actions = seed, []
    return self._worker.reset(seed, blocking=False)

  def _repeat(self, action):
    """Returns what a lost step reaches in a new worker, None if it cannot."""
    obs = self._answer(self._worker.reset(self._episode, blocking=False))
    for past in self._actions:
      if obs is None:
        return None
      obs = self._answer(self._worker.step(past, blocking=False))
    if obs is None or any(
        not np.array_equal(obs[key], self._obs[key]) for key in obs):
      return None
    return self._answer(self._worker.step(action, blocking=False))

  def _answer(self, promise):
    try:
      obs = promise()
    except WorkerError as error:
      self._worker.close()
      self._restart(error)
      return None
    if obs['is_last']:
      self._failures = 0
    return obs

  def _start(self, seed):
    try:
      self._worker = Worker(self._task, seed, **self._settings)
    except WorkerError as error:
      self._restart(error)

  def _restart(self, error):
    event, *words = str(error).splitlines()
    self._failures += 1
    if self._failures == LIMIT:
      event += (
          f', the last of {LIMIT} failures without a complete episode; repair '
          'it and run the same command again')
      raise WorkerError('\n'.join([event, *words])) from error
    if event.endswith('the worker failed'):
      event += f': {words[-1]}'
    self._restarts += 1
    seed = _another(self._seed, self._restarts)
    _logger.warning(
        'warning: %s; going on with a new one, seed %d', event, seed)
    self._start(seed)


def _another(seed, number):
  """Returns the seed of this number that takes the place of a seed."""
  # SeedSequence tells (5, 1) from (5, 2) and from 5.
  sequence = np.random.SeedSequence([seed, number])
  # Below 2 ** 31 or not as before: evaluations have seeds of their own.
  return seed & 2 ** 31 | int(sequence.generate_state(1)[0]) >> 1


def _environment():
  # Many workers share the cores, so each keeps to one thread by default.
  threads = {'OMP_NUM_THREADS': '1', 'LP_NUM_THREADS': '1'}
  return {**threads, **os.environ}


def _shut_down(conn, process, log):
  conn.close()
  try:
    process.wait(5)
  except subprocess.TimeoutExpired:
    process.kill()
    process.wait()
  log.close()
