"""Learning curves of the official DreamerV2 agent and of this one.

  python -m benchmarks.parity.learning --jobs 2

All learn from the same fixed random episodes, with equal sizes, batches and
numbers of updates, each with several seeds: both in float32, and this one in
bfloat16 too. Writes learning.json and learning.png beside this file.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from concurrent import futures

import numpy as np

from benchmarks import machine, official
from benchmarks.parity import train
from coworld_tf import cli
from coworld_tf.analysis import plots
from dreamerv2_base import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = pathlib.Path(__file__).parent / 'learning.json'
DATA = (
    '--task dmc_walker_walk --policy random --steps 20000 '
    '--action_repeat 2 --quality fast')
AGENTS = tuple(train.PRECISIONS)
PAIRS = ('here', 'official'), ('here-bfloat16', 'here')  # To be compared.
WINDOWS = 10  # Parts of training that are compared one by one.


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.parity.learning',
      description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  parser.add_argument(
      '--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4, 5],
      help='of all agents')
  parser.add_argument(
      '--updates', type=int, default=2000,
      help=f'of each run, a multiple of {train.EVERY * WINDOWS}')
  parser.add_argument(
      '--jobs', type=int, default=1, help='runs at the same time')
  parser.add_argument(
      '--out', type=pathlib.Path, default=ROOT / 'runs' / 'parity',
      help='directory of dataset, logs and curves; finished runs are kept')
  args = parser.parse_args(argv)
  with cli.input_errors():
    if args.updates < 1 or args.updates % (train.EVERY * WINDOWS):
      raise ValueError(
          f'--updates is {args.updates}: must be a positive multiple of '
          f'{train.EVERY * WINDOWS}')
    if args.jobs < 1 or len(set(args.seeds)) < 2:
      raise ValueError('--jobs must be positive, --seeds at least two')
    environment = official.environment()
  args.out = args.out.resolve()
  facts = machine.facts()
  command = [sys.executable, '-m', 'coworld_tf.datasets.collect']
  subprocess.run(
      [*command, *DATA.split(), '--out', args.out / 'data'], cwd=ROOT,
      check=True)
  pairs = [(agent, seed) for seed in args.seeds for agent in AGENTS]
  with futures.ThreadPoolExecutor(args.jobs) as pool:
    curves = list(pool.map(lambda pair: run(args, environment, *pair), pairs))
  curves = {
      agent: [x for x, (name, _) in zip(curves, pairs) if name == agent]
      for agent in AGENTS}
  write(args, facts, curves)
  for pair in PAIRS:
    print(f'\n{table(judge(curves, pair), pair)}')
  return 0


def run(args, environment, agent, seed):
  """Runs one training on its share of the cores; returns its curves."""
  path = args.out / f'{agent}-{seed}-{args.updates}.json'
  share = str(max(1, os.cpu_count() // args.jobs))
  threads = {
      'TF_NUM_INTRAOP_THREADS': share, 'TF_NUM_INTEROP_THREADS': share}
  if not path.exists():
    with path.with_suffix('.log').open('w') as log:
      subprocess.run(
          [sys.executable, '-m', 'benchmarks.parity.train', '--agent', agent,
           '--seed', str(seed), '--data', args.out / 'data',
           '--updates', str(args.updates), '--out', path],
          cwd=ROOT, env=environment | threads, stdout=log,
          stderr=subprocess.STDOUT, check=True)
    print(f'{agent}, seed {seed}: done', flush=True)
  return json.loads(path.read_text())


def judge(curves, pair):
  """Compares two agents in windows of training.

  Args:
    curves: agent -> list over seeds of {metric: points}.
    pair: names of the two.

  Returns:
    metric -> dict of mean and standard deviation over seeds of each agent in
    the last window; and for all windows the differences of the means in their
    standard errors, and whether the ranges of the seeds overlap.
  """
  result = {}
  for name in train.METRICS:
    windows = [
        np.reshape([x[name] for x in curves[agent]],
                   [len(curves[agent]), WINDOWS, -1]).mean(2)
        for agent in pair]
    mean = [x.mean(0) for x in windows]
    std = [x.std(0, ddof=1) for x in windows]
    error = np.hypot(*[
        x / len(y) ** 0.5 for x, y in zip(std, windows, strict=True)])
    overlap = np.minimum(*[x.max(0) for x in windows]) >= np.maximum(
        *[x.min(0) for x in windows])
    result[name] = {
        **{agent: [float(mean[index][-1]), float(std[index][-1])]
           for index, agent in enumerate(pair)},
        # Where all seeds agree to the last digit, the ratio says nothing.
        'differences': np.round(
            (mean[0] - mean[1]) / np.maximum(error, 1e-12), 2).tolist(),
        'overlaps': overlap.tolist()}
  return result


def table(verdict, pair):
  """Returns the comparison of two agents as a Markdown table."""
  lines = [
      '| | {}, last tenth | {}, last tenth | difference of the means in '
      'standard errors, tenth by tenth | tenths in which ranges overlap '
      '|'.format(*pair),
      '|---|---|---|---|---|']
  for name, entry in verdict.items():
    cells = ['{:.6g} ± {:.2g}'.format(*entry[agent]) for agent in pair]
    differences = ' '.join(f'{x:+.1f}' for x in entry['differences'])
    lines.append(
        f"| {name} | {' | '.join(cells)} | {differences} | "
        f"{sum(entry['overlaps'])} of {WINDOWS} |")
  return '\n'.join(lines)


def write(args, facts, curves):
  """Writes data and plot."""
  seeds = ' '.join(map(str, args.seeds))
  result = {
      'command': f'python -m benchmarks.parity.learning --seeds {seeds} '
                 f'--updates {args.updates} --jobs {args.jobs}',
      'config': ' '.join(train.OVERLAYS), 'dataset': DATA, 'machine': facts,
      'updates_per_point': train.EVERY, 'seeds': args.seeds,
      'comparisons': {
          ', '.join(pair): judge(curves, pair) for pair in PAIRS},
      'curves': {
          agent: [{name: [float(f'{value:.7g}') for value in values]
                   for name, values in entry.items()} for entry in entries]
          for agent, entries in curves.items()}}
  with files.replacing(RESULTS) as temporary:
    temporary.write_text(json.dumps(result) + '\n')
  steps = train.EVERY * np.arange(1, 1 + args.updates // train.EVERY)
  panels = {
      name: {agent: np.array([x[name] for x in curves[agent]])
             for agent in AGENTS} for name in train.METRICS}
  plots.bands(steps, panels, RESULTS.with_suffix('.png'), 'update')


if __name__ == '__main__':
  sys.exit(main())
