"""train.py as a process without the seconds that loading TensorFlow takes."""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / 'train.py'


def main(argv, *outputs):
  """Runs the program as a command would, with files for what it prints."""
  for number, path in enumerate(outputs, 1):
    with open(path, 'wb') as file:
      os.dup2(file.fileno(), number)
  sys.argv = [str(PROGRAM), *argv]
  runpy.run_path(str(PROGRAM), run_name='__main__')


def start(argv, *outputs):
  """Forks a process that has imported everything, and started nothing."""
  context = multiprocessing.get_context('forkserver')
  # Once for all tests; further calls find the server running.
  context.set_forkserver_preload(['tests.training', 'coworld_tf.methods'])
  process = context.Process(
      target=main, args=[[str(word) for word in argv], *outputs])
  process.start()
  return process


def run(*argv):
  """Does so to the end; returns what subprocess.run would."""
  with tempfile.TemporaryDirectory() as directory:
    paths = [pathlib.Path(directory, name) for name in ('stdout', 'stderr')]
    process = start(argv, *paths)
    process.join(280)
    process.kill()  # Or pytest would wait for one that hangs.
    process.join()
    return subprocess.CompletedProcess(
        argv, process.exitcode, *(path.read_text() for path in paths))
