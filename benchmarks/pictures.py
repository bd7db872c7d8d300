"""Makes the pictures of the README from a run of the demonstration.

  python -m benchmarks.pictures --run runs/benchmark-demo/demo-0

Writes docs/demo-curves.png, the run's learning curves, and
docs/demo-frames.png: an episode of the random policy above one of the trained
policy, from the first frame to the last.
"""

import argparse
import pathlib
import shutil
import sys

import imageio.v3 as imageio
import numpy as np

from coworld_tf import cli, demo
from coworld_tf.analysis import plots

DOCS = pathlib.Path(__file__).resolve().parents[1] / 'docs'
COLUMNS = 10


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.pictures',
      description=__doc__.split('\n')[0])
  parser.add_argument(
      '--run', type=pathlib.Path, required=True, help='log directory')
  args = parser.parse_args(argv)
  with cli.input_errors():
    rows = [
        frames(demo.latest(args.run, name))
        for name in ('random_episode', 'target_episode')]
    DOCS.mkdir(exist_ok=True)
    shutil.copy(args.run / 'curves.png', DOCS / 'demo-curves.png')
  plots.contact_sheet(
      np.concatenate(rows), DOCS / 'demo-frames.png', COLUMNS)
  return 0


def frames(path):
  """Returns frames at equal distances in time, [COLUMNS, H, W, 3]."""
  video = imageio.imread(path, index=None)
  return video[np.linspace(0, len(video) - 1, COLUMNS).astype(int)]


if __name__ == '__main__':
  sys.exit(main())
