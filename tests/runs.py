"""Runs as small as can be, in this process."""

import pathlib

from coworld_tf import methods
from dreamerv2_base import flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLAGS = (
    '--configs dreamerv2 debug --task dummy_2 --dataset.batch 2 '
    '--dataset.length 3 --imag_horizon 2 --time_limit 7 --train_every 3 '
    '--size 16 --encoder.cnn_kernels 4 4 --decoder.cnn_kernels 6 6 '
    '--pretrain 0 --schedule.prefill 14 --evaluation.final_episodes 1')


def online(logdir, *args):
  """Returns the trainer of an agent in a simulator alone."""
  config = flags.parse(
      [*FLAGS.split(), '--logdir', str(logdir), *args], ROOT / 'configs')
  return methods.build(config, logdir, None)
