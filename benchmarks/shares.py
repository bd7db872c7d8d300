"""What a run does while it does not learn, in a source and a target block.

  python -m benchmarks.shares

CoWorld from walker walk to walker downhill, rendered fast, at the sizes of
`dmc_vision`, in two rounds of short blocks through train.py, once for each
precision. The second block of each kind counts, when all is compiled.

Short blocks have too many evaluations and checkpoints. So the seconds of a
block are brought to the paper's proportions, of a block of 1,000 updates:
those of updates, data, environment and the rest grow with the number of
updates, and there is a checkpoint before the evaluation and one every two
minutes. An evaluation beside updates ends long before the block, and so
takes what it takes here, though it slows a larger part of a short block; one
that is waited for (--overlap none) grows with the number of agent steps in its
episodes. Writes benchmarks/results/shares.json, by size and precision.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from benchmarks import machine
from coworld_tf import cli, processes, shares
from dreamerv2_base import files

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'shares.json'
SIZES = {
    'dmc_vision': '--dataset.batch 16 --rssm.deter 200 --rssm.hidden 200',
    'small': ''}
# Seconds between checkpoints: none but at the ends of blocks.
FLAGS = (
    '--pretrain 1 --checkpoint_every 1000000 --log_every 50 --train_every 5 '
    '--action_repeat 2 --quality fast --schedule.prefill 1000 '
    '--schedule.source_pretrain 0 --schedule.warmup 1 --schedule.rounds 2 '
    '--schedule.target_blocks 1 --schedule.source_blocks 1 '
    '--schedule.model_updates 1 --evaluation.target_episodes 2 '
    '--evaluation.source_episodes 1 --evaluation.final_episodes 1')
DATA = (
    '--task dmc_walker_downhill --steps 2000 --action_repeat 2 --quality fast')
FRAMES = 5 * 2  # Of an update: train_every and action_repeat.
# The paper's updates of a block, seconds between checkpoints, agent steps of
# an episode; phase -> episodes evaluated here and in the paper.
UPDATES, EVERY, STEPS = 1000, 120, 500
EPISODES = {'source_aligned': (1, 1), 'target': (2, 10)}
LIMITS = {'source_aligned': 0.10, 'target': 0.02}
LINE = re.compile(r'^(\w+) \d+/\d+: (\d.*) of ([\d.]+) s$', re.MULTILINE)


def main(argv=None):
  """Runs the command line; returns 0 if all targets are met, else 1."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.shares', description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  parser.add_argument(
      '--updates', type=int, default=20, help='of each block')
  parser.add_argument('--size', choices=SIZES, default='dmc_vision')
  parser.add_argument(
      '--precisions', nargs='+', choices=('32', 'bfloat16'),
      default=['32', 'bfloat16'])
  parser.add_argument(
      '--overlap', choices=('none', 'evaluation', 'all'), default='evaluation',
      help='see train.py')
  parser.add_argument(
      '--time_limit', type=int, default=STEPS, help='agent steps per episode')
  parser.add_argument('--out', type=pathlib.Path, default=RESULTS)
  args = parser.parse_args(argv)
  with cli.input_errors():
    if args.updates < 1 or not 50 <= args.time_limit <= STEPS:
      raise ValueError(
          f'--updates {args.updates} --time_limit {args.time_limit}: there '
          f'must be an update, and 50 to {STEPS} steps')
    results = files.read_json(args.out) if args.out.exists() else {}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=args.out.parent).close()
  processes.listen()
  given = sys.argv[1:] if argv is None else argv
  facts = {
      'command': ' '.join(['python -m benchmarks.shares', *given]),
      'machine': machine.facts(), 'flags': FLAGS}
  try:
    with tempfile.TemporaryDirectory() as directory:
      runs = measure(args, pathlib.Path(directory))
  except KeyboardInterrupt:
    return 130
  for precision, blocks in runs.items():
    results.setdefault(args.size, {})[precision] = {**facts, 'blocks': blocks}
  with files.replacing(args.out) as temporary:
    temporary.write_text(json.dumps(results, indent=2) + '\n')
  return show(runs)


def show(runs):
  """Prints a line for each target; returns 0 if all are met, else 1."""
  for precision, blocks in runs.items():
    for phase, block in blocks.items():
      verdict = 'met' if block['met'] else 'missed'
      print(f'{precision:>8} {phase:<14} {verdict:<6} '
            f'{shares.line(block["shares"])}')
  return 0 if all(
      x['met'] for blocks in runs.values() for x in blocks.values()) else 1


def measure(args, directory):
  """Trains; returns precision -> phase -> what its block was."""
  limit, data, runs = str(args.time_limit), directory / 'data', {}
  call('-m', 'coworld_tf.datasets.collect', *DATA.split(), '--time_limit',
       limit, '--out', data)
  frames = str(args.updates * FRAMES)
  for precision in args.precisions:
    output = call(
        'train.py', '--configs', 'dmc', 'coworld',
        *(['small'] if args.size == 'small' else []), *FLAGS.split(),
        *SIZES[args.size].split(), '--precision', precision, '--overlap',
        args.overlap, '--offline_dir', data, '--logdir',
        directory / precision, '--time_limit', limit,
        '--schedule.source_steps', frames, '--schedule.target_steps', frames)
    last = dict((phase, seconds(line, float(total)))
                for phase, line, total in LINE.findall(output))
    runs[precision] = {
        phase: judge(
            last[phase], phase, args.updates,
            args.time_limit if args.overlap == 'none' else None)
        for phase in LIMITS}
  return runs


def call(*argv):
  """Runs a program; returns what it writes to stderr."""
  process = processes.start(
      list(map(str, argv)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
      text=True)
  try:
    _, output = process.communicate()
  finally:
    processes.stop([process])
  if process.returncode:
    raise RuntimeError(f'{argv}: {output}')
  return output


def seconds(line, total):
  """Returns the seconds of each kind in a line of shares."""
  found = dict.fromkeys(shares.KINDS, 0.0)
  for part in line.split(', '):
    share, _, kind = part.split(' ')
    found[kind] = float(share) / 100 * total
  return found


def judge(measured, phase, updates, steps=None):
  """Brings the seconds of a block to the paper's proportions.

  Args:
    measured: seconds by kind, with an evaluation and a checkpoint, or two if
      the evaluation was waited for.
    phase: of the block.
    updates: that it made.
    steps: agent steps of an evaluated episode, if that was waited for.

  Returns:
    Dict of these seconds, those of the paper's block, their shares, and
    whether the share of all but updates is below the limit.
  """
  here, paper = EPISODES[phase]
  scaled = {kind: x * UPDATES / updates for kind, x in measured.items()}
  scaled['evaluation'] = measured['evaluation']
  if steps:
    scaled['evaluation'] *= paper / here * STEPS / steps
  scaled['checkpoint'] = 0.0
  written = 2 if steps else 1
  count = written + sum(scaled.values()) / EVERY
  scaled['checkpoint'] = measured['checkpoint'] / written * count
  found = shares.fractions(scaled)
  rounded = lambda x, digits: {k: round(v, digits) for k, v in x.items()}
  return {
      'measured': rounded(measured, 3), 'seconds': rounded(scaled, 1),
      'shares': rounded(found, 4),
      'met': 1 - found[shares.UPDATE] < LIMITS[phase]}


if __name__ == '__main__':
  sys.exit(main())
