"""What a training update costs: ours, the official agent's and the floor.

  python -m benchmarks.train_step

Each contender is a process that makes updates on noise, in turn with the
others, as many at a time as fit into memory. The floor is as many operations
as an update needs, made as the quickest matrix products of this machine, and
takes turns too. Results go to benchmarks/results/train_step*.json, by size and
contender, and to docs/speed.png; with --out to a folder.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

from benchmarks import machine, official
from benchmarks.train_step import components, plots, scaling, turns, updates
from coworld_tf import cli
from dreamerv2_base import files, logger

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS, PLOT = ROOT / 'benchmarks' / 'results', ROOT / 'docs' / 'speed.png'
# Arguments of train.py; the last is for tests.
SIZES = {
    'small': '--configs small',
    'dmc_vision': '--dataset.batch 16 --rssm.deter 200 --rssm.hidden 200',
    'paper': '',
    'debug': '--configs debug'}
CONTENDERS = updates.CONTENDERS
# What is measured, by the stem of its file.
SUBJECTS = {
    'train_step': updates,
    'train_step_components': components,
    'train_step_scaling': scaling}


def main(argv=None):
  """Runs the command line; returns the exit status."""
  args = parse(argv)
  with cli.input_errors():
    check(args)
    results = {name: read(args.out, name) for name in SUBJECTS}
  if args.subject is None:
    for name in SUBJECTS:
      show(name, results[name], args.sizes)
    return 0
  logger.setup_terminal()
  subject, found = SUBJECTS[args.subject], results[args.subject]
  words = sys.argv[1:] if argv is None else argv
  for size in args.sizes:
    facts = {
        'command': ' '.join(['python -m benchmarks.train_step', *words]),
        'machine': {**machine.facts(), 'load': os.getloadavg()[0]},
        'threads': turns.threads()}
    found[size] = subject.merge(
        found.get(size, {}),
        subject.measure(size, SIZES[size].split(), args), facts)
    # After each, so that a failure leaves what was measured.
    with files.replacing(args.out / f'{args.subject}.json') as temporary:
      temporary.write_text(json.dumps(found, indent=2) + '\n')
  show(args.subject, found, args.sizes)
  plots.draw(
      results['train_step'], results['train_step_scaling'],
      PLOT if args.out == RESULTS else args.out / PLOT.name)
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
  add('--out', type=lambda text: pathlib.Path(text).resolve(),
      default=RESULTS, metavar='DIR',
      help='folder of the results')
  kinds = parser.add_mutually_exclusive_group()
  for flag, subject, text in (
      ('components', 'train_step_components', 'the parts of an update'),
      ('scaling', 'train_step_scaling', 'growth with batches, horizon, ...'),
      ('table', None, 'nothing, but print the results there are')):
    kinds.add_argument(
        f'--{flag}', dest='subject', action='store_const', const=subject,
        default='train_step', help=f'measure {text}')
  return parser.parse_args(argv)


def check(args):
  """Checks all that can be wrong before anything is measured.

  Raises:
    ValueError: arguments that cannot be used.
    OSError: the folder cannot be written to, or the official agent, which is
      wanted, is not installed.
  """
  if min(args.rounds, args.updates) < 1:
    raise ValueError('--rounds and --updates must be positive')
  missing = [x for x in args.contenders or () if x not in CONTENDERS]
  if missing:
    raise ValueError(
        f"--contenders: '{missing[0]}', use some of {', '.join(CONTENDERS)}")
  if args.contenders and args.subject != 'train_step':
    raise ValueError('--contenders: can be chosen for whole updates only')
  if args.subject is None:
    return
  turns.threads()
  if 'debug' in args.sizes and args.out == RESULTS:
    raise ValueError('--sizes debug: is for tests, name a folder by --out')
  if args.subject == 'train_step_components' or any(
      args.subject == 'train_step'
      and 'official' in updates.names(size, args)
      for size in args.sizes):
    official.folder()
  args.out.mkdir(parents=True, exist_ok=True)
  tempfile.TemporaryFile(dir=args.out).close()


def read(folder, name):
  """Returns the results of a subject by size, perhaps none."""
  path = folder / f'{name}.json'
  return files.read_json(path) if path.exists() else {}


def show(name, results, sizes):
  """Prints the tables of sizes, and what became of each target."""
  subject = SUBJECTS[name]
  for size in sizes:
    if size in results:
      print(subject.table(size, results[size]), end='\n\n')
  for line in subject.verdicts(results):
    print(line)


if __name__ == '__main__':
  sys.exit(main())
