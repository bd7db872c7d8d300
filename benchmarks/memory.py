"""Resident memory of a training process over many updates.

  python -m benchmarks.memory --updates 20000

A run of train.py on dummy simulators at the smallest sizes: ten blocks in
which a source agent collects and learns, in turns with ten in which the target
learns from offline data, with evaluations and checkpoints. The resident memory
of the process is read from outside about every hundredth of the updates.
Writes benchmarks/results/memory.json.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import machine
from coworld_tf import cli, processes
from dreamerv2_base import files

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'memory.json'
BLOCKS = 20
# One update per agent step, and a replay that is full within the first tenth.
FLAGS = (
    '--configs coworld debug --source_task dummy_2 --target_task dummy_2 '
    '--compile graph --dataset.batch 2 --dataset.length 4 --imag_horizon 2 '
    '--train_every 1 --pretrain 0 --capacity 500 --checkpoint_every 20 '
    '--schedule.rounds 10 --schedule.warmup 0')
DATA = '--task dummy_2 --steps 300 --time_limit 25 --quality fast'


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.memory', description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  parser.add_argument(
      '--updates', type=int, default=20000, help='of both agents together')
  args = parser.parse_args(argv)
  with cli.input_errors():
    if args.updates < 200 or args.updates % BLOCKS:
      raise ValueError(
          f'--updates: {args.updates} is not a multiple of {BLOCKS} from 200')
  facts = machine.facts()
  processes.listen()
  try:
    with tempfile.TemporaryDirectory() as directory:
      rows = measure(args.updates, pathlib.Path(directory))
  except KeyboardInterrupt:
    return 130
  late = np.array([row for row in rows if row[0] >= args.updates / 10])
  slope = 1000 * np.polyfit(*late.T, 1)[0]
  text = json.dumps({
      'command': f'python -m benchmarks.memory --updates {args.updates}',
      'machine': facts, 'flags': FLAGS,
      'mb_per_1000_updates': round(float(slope), 4),
      'updates_and_mb': rows})
  with files.replacing(RESULTS) as temporary:
    temporary.write_text(text + '\n')
  for row in tenths(rows, args.updates):
    print(f'{row[0]:>7} updates  {row[1]:8.1f} MB')
  print(f'after the first tenth: {slope:+.3f} MB per 1,000 updates')
  return 0


def measure(updates, directory):
  """Trains; returns pairs of updates made and resident megabytes."""
  data, logdir = directory / 'data', directory / 'run'
  subprocess.run(
      [sys.executable, '-m', 'coworld_tf.datasets.collect', *DATA.split(),
       '--out', data], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
  amount, every = str(updates // BLOCKS), max(updates // 100, 1)
  process = processes.start(
      ['train.py', *FLAGS.split(), '--offline_dir', data, '--logdir', logdir,
       '--schedule.source_steps', amount, '--schedule.target_steps', amount,
       '--log_every', str(every)])
  rows, metrics = [], logdir / 'metrics.jsonl'
  try:
    while process.poll() is None:
      time.sleep(0.2)
      lines = metrics.read_text().split('\n') if metrics.exists() else []
      step = json.loads(lines[-2])['step'] if len(lines) > 1 else 0
      size = resident(process.pid)
      if size and step > (rows[-1][0] if rows else 0):
        rows.append((step, size))
  finally:
    processes.stop([process])
  if process.returncode:
    raise RuntimeError(f'train.py ended with status {process.returncode}')
  return rows


def resident(pid):
  """Returns the resident megabytes of a process, None if it has ended."""
  try:
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
  except FileNotFoundError:
    return None
  found = re.search(r'VmRSS:\s+(\d+) kB', status)
  return found and round(int(found[1]) / 1024, 1)


def tenths(rows, updates):
  """Returns the first row at or after each tenth of the updates."""
  marks = [updates * tenth / 10 for tenth in range(1, 11)]
  return [next(row for row in rows if row[0] >= mark) for mark in marks]


if __name__ == '__main__':
  sys.exit(main())
