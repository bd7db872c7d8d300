"""Environments in processes of their own.

TensorFlow and software OpenGL crash in one process, and a spawned or forked
child inherits the imports of its parent. The child here is a fresh interpreter
that shares nothing with the parent but one socket.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback
import weakref
from multiprocessing import connection

import envs

ROOT = pathlib.Path(__file__).parents[1]


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
    self._name = f'{task} (seed {seed})'
    self._timeout = timeout
    self._waiting = False
    self._conn, theirs = connection.Pipe()
    self._log = tempfile.TemporaryFile()
    self._process = subprocess.Popen(
        [sys.executable, '-X', 'faulthandler', '-m', 'envs.worker',
         str(theirs.fileno())],
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

  def reset(self, blocking=True):
    """Returns the first observation, or a promise of it: call it to wait."""
    promise = self._call('reset')
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
    try:
      self._conn.send((method, args))
    except OSError as error:
      raise self._lost('died') from error
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
    self._process.kill()
    self._log.seek(0)
    output = self._log.read().decode(errors='replace')[-4000:]
    self.close()
    return WorkerError(f'{self._name}: the worker {event}\n{output}'.strip())


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


def serve(conn):
  """Answers the requests of a `Worker` until its end of `conn` is gone."""
  env = None
  while True:
    try:
      method, args = conn.recv()
    except (EOFError, OSError):
      break
    try:
      if method == 'make':
        task, settings = args
        env = envs.make(task, **settings)
        answer = env.obs_space, env.act_space
        if 'tensorflow' in sys.modules:
          raise RuntimeError(f'{task} imports TensorFlow')
      else:
        answer = getattr(env, method)(*args)
      reply = answer, None
    except Exception as error:  # Whatever it is, the parent reports it.
      message = str(error) if isinstance(error, ValueError) else None
      reply = None, (message, traceback.format_exc())
    try:
      conn.send(reply)
    except OSError:
      break
  if env:
    env.close()


def main():
  """Serves the socket whose file descriptor is the only argument."""
  # Ctrl-C reaches the whole group; the parent decides and then hangs up.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  with connection.Connection(int(sys.argv[1])) as conn:
    serve(conn)


if __name__ == '__main__':
  main()
