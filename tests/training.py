"""train.py as a process without the seconds that loading TensorFlow takes."""

import multiprocessing
import sys

import train


def main(argv):
  """Ends the process with the status of the program."""
  sys.exit(train.main(argv))


def start(argv):
  """Forks a process that has imported everything, and started nothing."""
  context = multiprocessing.get_context('forkserver')
  # Once for all tests; further calls find the server running.
  context.set_forkserver_preload(['tests.training', 'coworld_tf.methods'])
  process = context.Process(target=main, args=[[str(word) for word in argv]])
  process.start()
  return process
