"""Makes the pictures of the documentation.

  python -m benchmarks.pictures demo --run runs/benchmark-demo/demo-0
  python -m benchmarks.pictures suites

`demo` writes docs/demo-curves.png, the learning curves of a run of the
demonstration, and docs/demo-frames.png: an episode of the random policy above
one of the trained policy, from the first frame to the last. `suites` writes
docs/suites.png: a frame of each task of the paper.
"""

import argparse
import pathlib
import shutil
import sys

import imageio.v3 as imageio
import numpy as np

from coworld_tf import cli, demo
from coworld_tf.analysis import plots
from envs import worker

DOCS = pathlib.Path(__file__).resolve().parents[1] / 'docs'
COLUMNS = 10
SUITES = {
    'metaworld': (
        'door-close', 'button-press', 'window-close', 'handle-press',
        'drawer-close', 'button-press-topdown'),
    'robodesk': (
        'push_green', 'open_slide', 'open_drawer', 'upright_block_off_table'),
    'dmc': (
        'walker_walk', 'walker_downhill', 'walker_uphill', 'walker_nofoot',
        'cheetah_run', 'cheetah_downhill', 'cheetah_uphill',
        'cheetah_nopaw')}


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.pictures',
      description=__doc__.split('\n')[0])
  commands = parser.add_subparsers(dest='picture', required=True)
  add = commands.add_parser('demo', help='of a run of the demonstration')
  add.add_argument(
      '--run', type=pathlib.Path, required=True, help='log directory')
  commands.add_parser('suites', help='of each task of the paper')
  args = parser.parse_args(argv)
  if args.picture == 'suites':
    suites(DOCS / 'suites.png')
    return 0
  with cli.input_errors():
    rows = [
        frames(demo.latest(args.run, name))
        for name in ('random_episode', 'target_episode')]
    shutil.copy(args.run / 'curves.png', DOCS / 'demo-curves.png')
  plots.contact_sheet(
      np.concatenate(rows), DOCS / 'demo-frames.png', COLUMNS)
  return 0


def frames(path):
  """Returns frames at equal distances in time, [COLUMNS, H, W, 3]."""
  video = imageio.imread(path, index=None)
  return video[np.linspace(0, len(video) - 1, COLUMNS).astype(int)]


def suites(path):
  """Draws the tasks of the paper with their names."""
  names = [(suite, name) for suite, tasks in SUITES.items() for name in tasks]
  images = [after_random_steps('_'.join(name)) for name in names]
  plots.contact_sheet(images, path, 6, ['\n'.join(name) for name in names])


def after_random_steps(task, steps=4, repeat=10):
  """Returns an image, uint8 [160, 160, 3], in exact quality."""
  random = np.random.default_rng(0)
  with worker.Worker(task, size=160, action_repeat=repeat) as env:
    shape = env.act_space['action'].shape
    env.reset()
    for _ in range(steps):
      obs = env.step({'action': random.uniform(-1, 1, shape)})
  return obs['image']


if __name__ == '__main__':
  sys.exit(main())
