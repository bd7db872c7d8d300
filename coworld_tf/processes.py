"""Programs of this repository as processes that end with all they started."""

import os
import signal
import subprocess
import sys

from coworld_tf import experiments

PATIENCE = 30  # Seconds that a stopped process gets to end by itself.


def start(argv, **keywords):
  """Starts Python at the root of the repository; returns the process.

  Args:
    argv: its arguments.
    **keywords: as for subprocess.Popen.
  """
  # A session of its own, so that Ctrl-C does not come to it, and `stop` comes
  # to its children too.
  return subprocess.Popen(
      [sys.executable, *argv], cwd=experiments.ROOT, start_new_session=True,
      stdin=subprocess.DEVNULL, **keywords)


def listen():
  """Lets SIGTERM and SIGINT raise KeyboardInterrupt.

  Without this, `kill` would leave processes behind, and what a shell starts
  in the background would be deaf to SIGINT. So would be the processes that it
  starts, and `stop` would have to wait and kill them.
  """
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.default_int_handler)


def stop(processes):
  """Ends processes that `start` gave after `listen`, and their children."""
  for sent in (signal.SIGINT, signal.SIGKILL):
    for process in processes:
      if process.poll() is None:
        os.killpg(process.pid, sent)
    for process in processes:
      try:
        process.wait(PATIENCE)
      except subprocess.TimeoutExpired:
        continue
