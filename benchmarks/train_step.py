"""What a training update costs: ours, the official agent's and the floor.

  python -m benchmarks.train_step

Each contender is a process that makes updates on noise, in turn with the
others. The floor is as many operations as an update needs, made as the
quickest matrix products of this machine, and takes turns too. Results go to
benchmarks/results/train_step*.json, by size, and to docs/speed.png.
"""

import argparse
import json
import os
import pathlib
import sys

from benchmarks import (
  machine,
  train_step_components,
  train_step_plots,
  train_step_scaling,
  train_step_updates,
  turns,
)
from coworld_tf import cli
from dreamerv2_base import files, logger

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS, PLOT = ROOT / 'benchmarks' / 'results', ROOT / 'docs' / 'speed.png'
# Arguments of train.py; the last is for tests.
SIZES = {
    'small': '--configs small',
    'dmc_vision': '--dataset.batch 16 --rssm.deter 200 --rssm.hidden 200',
    'paper': '',
    'debug': '--configs debug'}
CONTENDERS = train_step_updates.CONTENDERS
# What is measured, by the stem of its file.
SUBJECTS = {
    'train_step': train_step_updates,
    'train_step_components': train_step_components,
    'train_step_scaling': train_step_scaling}


def main(argv=None):
  """Runs the command line; returns the exit status."""
  args = parse(argv)
  with cli.input_errors():
    if min(args.rounds, args.updates) < 1:
      raise ValueError('--rounds and --updates must be positive')
    missing = [x for x in args.contenders or () if x not in CONTENDERS]
    if missing:
      raise ValueError(
          f"--contenders: '{missing[0]}', use some of {', '.join(CONTENDERS)}")
    if args.subject is None:
      show()
      return 0
  logger.setup_terminal()
  subject, words = SUBJECTS[args.subject], argv or sys.argv[1:]
  for size in args.sizes:
    facts = {
        'command': ' '.join(['python -m benchmarks.train_step', *words]),
        'machine': {**machine.facts(), 'load': os.getloadavg()[0]},
        'threads': turns.threads()}
    found = subject.measure(size, SIZES[size].split(), args)
    # After each, so that a failure leaves what was measured.
    write(args.subject, {**read(args.subject), size: {**facts, **found}})
    print(subject.table(size, found), end='\n\n')
    for line in subject.misses(size, found):
      print(line)
  train_step_plots.draw(read('train_step'), read('train_step_scaling'), PLOT)
  return 0


def parse(argv):
  """Reads the command line."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.train_step',
      description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  add = parser.add_argument
  add('--sizes', nargs='+', choices=SIZES, metavar='SIZE',
      default=['small', 'dmc_vision', 'paper'], help=', '.join(SIZES))
  add('--contenders', nargs='+', metavar='NAME',
      help='those that take turns; by default all, or a few at size paper')
  add('--rounds', type=int, default=7, help='turns that each takes')
  add('--updates', type=int, default=2, help='updates in a turn')
  kinds = parser.add_mutually_exclusive_group()
  for flag, subject, text in (
      ('components', 'train_step_components', 'the parts of an update'),
      ('scaling', 'train_step_scaling', 'growth with batches, horizon, ...'),
      ('table', None, 'nothing, but print the results there are')):
    kinds.add_argument(
        f'--{flag}', dest='subject', action='store_const', const=subject,
        default='train_step', help=f'measure {text}')
  return parser.parse_args(argv)


def read(name):
  """Returns the results of a subject by size, perhaps none."""
  path = RESULTS / f'{name}.json'
  return json.loads(path.read_text()) if path.exists() else {}


def write(name, results):
  """Replaces the results of a subject."""
  RESULTS.mkdir(exist_ok=True)
  with files.replacing(RESULTS / f'{name}.json') as temporary:
    temporary.write_text(json.dumps(results, indent=2) + '\n')


def show():
  """Prints the tables and missed targets of all results."""
  for name, subject in SUBJECTS.items():
    for size, found in read(name).items():
      print(subject.table(size, found), end='\n\n')
      for line in subject.misses(size, found):
        print(line)


if __name__ == '__main__':
  sys.exit(main())
