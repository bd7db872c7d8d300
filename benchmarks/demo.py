"""Runs the demonstration with several seeds and keeps the results as data.

  python -m benchmarks.demo --seeds 0 1 2 3 4 --jobs 2

A seed counts as a success if the trained policy beats the random policy and
the dataset's mean, each by more than two standard errors of the difference.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import time
from concurrent import futures

from benchmarks import machine
from coworld_tf import cli
from dreamerv2_base import files

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'demo.json'


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.demo', description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  parser.add_argument(
      '--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4],
      help='of the demonstrations')
  parser.add_argument(
      '--jobs', type=int, default=1, help='seeds that run at the same time')
  parser.add_argument(
      '--out', type=pathlib.Path, default=ROOT / 'runs' / 'benchmark-demo',
      help='directory of datasets, runs and logs')
  args = parser.parse_args(argv)
  with cli.input_errors():
    check(args)
    args.out.mkdir(parents=True, exist_ok=True)
  seeds = sorted(set(args.seeds))
  result = {
      'command': 'python -m benchmarks.demo --seeds '
                 + ' '.join(map(str, seeds)) + f' --jobs {args.jobs}',
      'config': 'dmc coworld demo', 'machine': machine.facts(), 'runs': []}
  runs = result['runs']
  with futures.ThreadPoolExecutor(args.jobs) as pool:
    tasks = [pool.submit(run, args.out, seed, args.jobs) for seed in seeds]
    for task in futures.as_completed(tasks):
      runs += task.result()
      runs.sort(key=lambda entry: entry['seed'])
      write(result, RESULTS)
  print(table(runs))
  wins = sum(entry['success'] for entry in runs)
  print(f'{wins} of {len(seeds)} seeds succeed; {RESULTS}')
  return int(len(runs) < len(seeds))


def check(args):
  """Refuses what would report an earlier run as one of today's.

  Raises:
    ValueError: a run of one of the seeds exists, or --jobs is not positive.
  """
  if args.jobs < 1:
    raise ValueError(f'--jobs is {args.jobs}: must be at least 1')
  for seed in args.seeds:
    for path in (args.out / f'demo-{seed}', args.out / f'demo-data-{seed}'):
      if path.exists():
        raise ValueError(f'{path} exists; remove it or choose another --out')


def run(out, seed, jobs):
  """Runs one seed on its share of the cores, with its output in a log file.

  Returns:
    A list of its results, empty if the demonstration failed.
  """
  start, path = time.time(), out / f'demo-{seed}.log'
  share = str(max(1, os.cpu_count() // jobs))
  threads = {
      'TF_NUM_INTRAOP_THREADS': share, 'TF_NUM_INTEROP_THREADS': share}
  with path.open('w') as log:
    status = subprocess.run(
        [sys.executable, '-m', 'coworld_tf.demo', '--seed', str(seed),
         '--out', out.resolve()],
        cwd=ROOT, env=os.environ | threads, stdout=log,
        stderr=subprocess.STDOUT).returncode
  if status:
    print(f'seed {seed} failed, see {path}', file=sys.stderr)
    return []
  minutes = round((time.time() - start) / 60, 1)
  summary = json.loads((out / f'demo-{seed}' / 'summary.json').read_text())
  entry = {**judge(summary), 'minutes': minutes, **summary}
  print(f"seed {seed}: leads {entry['lead']}, {minutes} minutes", flush=True)
  return [entry]


def judge(summary):
  """Returns the target's lead over both references in standard errors."""
  returns = summary['returns']
  target, leads = returns['target'], {}
  for name in ('random', 'dataset'):
    other = returns[name]
    error = math.hypot(target['stderr'], other['stderr'])
    leads[name] = round((target['mean'] - other['mean']) / error, 2)
  return {'lead': leads, 'success': min(leads.values()) > 2}


def table(runs):
  """Returns the results of all seeds as a Markdown table."""
  lines = ['| seed | random policy | dataset | trained policy | lead |',
           '|---|---|---|---|---|']
  for entry in runs:
    cells = [
        f"{entry['returns'][name]['mean']:.1f} ± "
        f"{entry['returns'][name]['stderr']:.1f}"
        for name in ('random', 'dataset', 'target')]
    lead = min(entry['lead'].values())
    lines.append(f"| {entry['seed']} | {' | '.join(cells)} | {lead:.1f} |")
  return '\n'.join(lines)


def write(result, path):
  """Writes a result as JSON."""
  path.parent.mkdir(exist_ok=True)
  with files.replacing(path) as temporary:
    temporary.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
  sys.exit(main())
