"""Collects a small dataset, trains CoWorld on it and shows what came out.

  python -m coworld_tf.demo --seed 0

Killed at any moment, the same command goes on where it was.
"""

import argparse
import pathlib
import subprocess
import sys
import time

from coworld_tf import inputs
from dreamerv2_base import files, flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = 'dmc_walker_downhill'
SOURCE = 'dmc_walker_walk'
FRAMES = 20000
CONFIGS = '--configs', 'dmc', 'coworld', 'demo'


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.demo', description=__doc__.split('\n')[0])
  parser.add_argument(
      '--seed', type=int, default=0, help='of everything (default 0)')
  parser.add_argument(
      '--out', type=pathlib.Path, default=ROOT / 'runs',
      help='directory of dataset and run (default runs)')
  args = parser.parse_args(argv)
  out = args.out.resolve()
  data, logdir = out / f'demo-data-{args.seed}', out / f'demo-{args.seed}'
  start = time.time()
  print(f'1/2  Random data of {TARGET}, the target: {data}')
  config = flags.parse(CONFIGS, ROOT / 'configs')
  status = python(
      '-m', 'coworld_tf.datasets.collect', '--task', TARGET, '--policy',
      'random', '--steps', FRAMES, '--seed', args.seed, '--out', data,
      *inputs.collect_flags(config))
  if status:
    return status
  print(f'\n2/2  CoWorld with {SOURCE} as the source: {logdir}')
  status = python(
      ROOT / 'train.py', *CONFIGS, '--source_task', SOURCE, '--target_task',
      TARGET, '--offline_dir', data, '--logdir', logdir, '--seed', args.seed)
  if status:
    return status
  show(logdir, time.time() - start)
  return 0


def python(*args):
  """Runs Python at the root of the repository; returns the exit status."""
  sys.stdout.flush()
  process = subprocess.Popen([sys.executable, *map(str, args)], cwd=ROOT)
  try:
    return process.wait()
  except KeyboardInterrupt:
    process.wait()  # It was told as well, and saves.
    return 130


def latest(logdir, name):
  """Returns the path of the last video of that name.

  Raises:
    FileNotFoundError: there is none.
  """
  paths = list((logdir / 'videos').glob(f'{name}-*.gif'))
  if not paths:
    raise FileNotFoundError(f'{logdir} has no videos of {name}')
  return max(paths, key=lambda path: int(path.stem.rpartition('-')[2]))


def show(logdir, seconds):
  """Prints the three returns next to each other and where the pictures are."""
  summary = files.read_json(logdir / 'summary.json')
  print('\n' + '   '.join(
      f"{name} {entry['mean']:.1f} +- {entry['stderr']:.1f}"
      for name, entry in summary['returns'].items()))
  for text, path in {
      'learning curves': logdir / 'curves.png',
      'returns': logdir / 'returns.png',
      'the trained policy': latest(logdir, 'target_episode'),
      'the random policy': latest(logdir, 'random_episode'),
      'predictions (truth, model, error)': latest(logdir, 'target_prediction'),
  }.items():
    print(f'{text:<35}{path}')
  print(f'{seconds / 60:.1f} minutes')


if __name__ == '__main__':
  sys.exit(main())
