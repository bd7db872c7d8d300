"""train.py as a process without the seconds that loading TensorFlow takes."""

import multiprocessing
import pathlib
import runpy
import sys

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / 'train.py'


def main(argv):
  """Runs the program as a command would."""
  sys.argv = [str(PROGRAM), *argv]
  runpy.run_path(str(PROGRAM), run_name='__main__')


def start(argv):
  """Forks a process that has imported everything, and started nothing."""
  context = multiprocessing.get_context('forkserver')
  # Once for all tests; further calls find the server running.
  context.set_forkserver_preload(['tests.training', 'coworld_tf.methods'])
  process = context.Process(target=main, args=[[str(word) for word in argv]])
  process.start()
  return process
