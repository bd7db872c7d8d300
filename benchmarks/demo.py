"""Runs the demonstration with several seeds and keeps the results as data.

  python -m benchmarks.demo --seeds 0 1 2 3 4

A seed counts as a success if the trained policy beats the random policy and
the dataset's mean, each by more than two standard errors of the difference.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

from benchmarks import machine

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'demo.json'


def main():
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--seeds', type=int, nargs='+', default=range(5))
  parser.add_argument('--out', type=pathlib.Path, default=ROOT / 'runs')
  args = parser.parse_args()
  facts, runs = machine.facts(), []
  for seed in args.seeds:
    start = time.time()
    subprocess.run(
        [sys.executable, '-m', 'coworld_tf.demo', '--seed', str(seed),
         '--out', str(args.out)], check=True, cwd=ROOT)
    minutes = round((time.time() - start) / 60, 1)
    summary = json.loads(
        (args.out / f'demo-{seed}' / 'summary.json').read_text())
    runs.append({**judge(summary), 'minutes': minutes, **summary})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({
        'command': 'python -m benchmarks.demo --seeds '
                   + ' '.join(map(str, args.seeds)),
        'config': 'dmc coworld demo', 'machine': facts, 'runs': runs,
    }, indent=2) + '\n')
  wins = sum(run['success'] for run in runs)
  print(f'{wins} of {len(runs)} seeds succeed; {RESULTS}')
  return 0


def judge(summary):
  """Returns the target's lead over both references in standard errors."""
  returns = summary['returns']
  target, leads = returns['target'], {}
  for name in ('random', 'dataset'):
    other = returns[name]
    error = math.hypot(target['stderr'], other['stderr'])
    leads[name] = round((target['mean'] - other['mean']) / error, 2)
  return {'lead': leads, 'success': min(leads.values()) > 2}


if __name__ == '__main__':
  sys.exit(main())
