"""The process of a worker: answers the requests of `envs.worker.Worker`."""

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing import connection

import envs
from envs import wrappers


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
      # Once it is made, a simulator may raise anything by its own fault.
      wrong = ValueError if method == 'make' else wrappers.ActionError
      message = str(error) if isinstance(error, wrong) else None
      reply = None, (message, traceback.format_exc())
    try:
      conn.send(reply)
    except OSError:
      break
  if env:
    env.close()


def _follow(parent):
  """Ends this process when its parent is gone, even in the middle of a step.
  """
  while os.getppid() == parent:
    time.sleep(2)
  os._exit(1)


def main():
  """Serves the socket whose file descriptor is the only argument."""
  threading.Thread(
      target=_follow, args=[os.getppid()], daemon=True).start()
  # They may reach the whole group; the parent decides and then hangs up.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  with connection.Connection(int(sys.argv[1])) as conn:
    serve(conn)


if __name__ == '__main__':
  main()
