"""2,000 updates of the online DreamerV2 agent at the `small` size.

  python -m benchmarks.online

Writes benchmarks/results/online.json, the curves docs/online-curves.png and
frames of the last open-loop prediction docs/online-prediction.png.
"""

import argparse
import json
import math
import pathlib
import shutil
import subprocess
import sys

import imageio.v3 as imageio

from benchmarks import machine
from coworld_tf import cli, demo
from coworld_tf.analysis import plots
from dreamerv2_base import files, logger

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'online.json'
DOCS = ROOT / 'docs'
# 100 updates at the start, then one per 10 frames: 1,900 in two blocks.
FLAGS = (
    '--configs dmc dreamerv2 small --precision 32 --task dmc_walker_walk '
    '--schedule.source_pretrain 2 --schedule.source_steps 9500 '
    '--evaluation.source_episodes 2 --evaluation.final_episodes 10')
# Metric -> its value for perfect predictions: the normalizing constants of
# normal densities with variance 1, over pixels and over the reward.
LOWEST = {
    'image_loss': 64 * 64 * 3 * math.log(2 * math.pi) / 2,
    'reward_loss': math.log(2 * math.pi) / 2, 'kl': 0.0}


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.online', description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  parser.add_argument(
      '--logdir', type=pathlib.Path, default=ROOT / 'runs' / 'online-small',
      help='directory of the run')
  args = parser.parse_args(argv)
  with cli.input_errors():
    if args.logdir.exists():
      raise ValueError(
          f'{args.logdir} exists; remove it or choose another --logdir')
  facts = machine.facts()
  subprocess.run(
      [sys.executable, ROOT / 'train.py', *FLAGS.split(), '--logdir',
       args.logdir], check=True)
  records = logger.read_metrics(args.logdir / 'metrics.jsonl')
  losses = {}
  for name, lowest in LOWEST.items():
    _, values = plots.series(records, f'source/{name}')
    above = [round(float(value) - lowest, 4) for value in values]
    losses[name] = {
        'first': above[0], 'highest': max(above), 'last': above[-1]}
  RESULTS.parent.mkdir(exist_ok=True)
  text = json.dumps({
      'command': f'python train.py {FLAGS}', 'machine': facts,
      'losses_above_their_lowest': losses,
      'summary': json.loads((args.logdir / 'summary.json').read_text()),
  }, indent=2)
  with files.replacing(RESULTS) as temporary:
    temporary.write_text(text + '\n')
  DOCS.mkdir(exist_ok=True)
  shutil.copy(args.logdir / 'curves.png', DOCS / 'online-curves.png')
  picture(args.logdir, DOCS / 'online-prediction.png')
  print('| loss above its lowest value | first 20 updates | last 20 |')
  print('|---|---|---|')
  for name, values in losses.items():
    print(f"| {name} | {values['first']:.4g} | {values['last']:.4g} |")
  return 0


def picture(logdir, path):
  """Shows truth, model and error of one sequence over time."""
  video = imageio.imread(
      demo.latest(logdir, 'source_prediction'), index=None)
  frames = [
      frame[row * 64:row * 64 + 64, :64]
      for row in range(3) for frame in video]
  plots.contact_sheet(frames, path, len(video))


if __name__ == '__main__':
  sys.exit(main())
