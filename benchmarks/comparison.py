"""Compares four methods on one pair of tasks and keeps the results as data.

  python -m benchmarks.comparison --jobs 2

Runs what is not finished yet, then writes tables, pictures and comparison.json
into benchmarks/results/comparison.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import sys

from benchmarks import machine
from coworld_tf import cli, experiments, reproduce
from coworld_tf.analysis import records
from dreamerv2_base import files, logger

ROOT = experiments.ROOT
RESULTS = ROOT / 'benchmarks' / 'results' / 'comparison'
FLAGS = (
    'table3 --scale small --pairs WW-WD --methods dreamerv2_offline '
    'offline_dv2 dv2_finetune coworld --run')
# In imagination; the reward is what the penalty of offline_dv2 leaves of it.
METRICS = 'target/imag_reward', 'target/penalty', 'target/disagreement'


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.comparison',
      description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  parser.add_argument(
      '--jobs', type=int, default=1, help='commands that run at the same time')
  parser.add_argument(
      '--out', type=pathlib.Path, default=ROOT / 'runs',
      help='directory of datasets and runs, where finished ones are kept')
  args = parser.parse_args(argv)
  flags = [*FLAGS.split(), f'--jobs={args.jobs}', f'--out={args.out}']
  parts = reproduce.parse_arguments(flags)
  out, facts = ROOT / parts.out, machine.facts()
  with cli.input_errors():
    data, *runs = experiments.plan(
        parts.experiment, parts.scale, out, parts.seeds, parts.pairs,
        parts.methods)
    # Of those that are there already, the commit is not known.
    commits = {
        step.name: None if reproduce.is_done(step) else facts['commit']
        for step in runs}
  status = reproduce.main(flags)
  if status:
    return status
  metadata = files.read_json(data.done)
  del metadata['agent']  # Its whole configuration.
  write({
      'command': f'python -m benchmarks.comparison --jobs {args.jobs}',
      'machine': facts, 'dataset': metadata, 'runs': [{
          'run': step.name, 'commit': commits[step.name],
          **describe(step.done.parent)} for step in sorted(runs)]},
      out / parts.experiment, RESULTS)
  return 0


def describe(logdir):
  """Returns what a finished run says of itself, its curve and last metrics."""
  summary = files.read_json(logdir / 'summary.json')
  del summary['offline_dir']  # Of this machine only.
  last = {}
  for record in logger.read_metrics(logdir / 'metrics.jsonl'):
    last.update(record)
  evaluations = records.read_evaluations(logdir / 'evaluations.jsonl')
  return {
      **summary, 'last': {key: last[key] for key in METRICS if key in last},
      'evaluations': [{
          'target_updates': record['target_updates'],
          'mean_return': round(statistics.mean(record['returns']), 2)}
          for record in evaluations if record['policy'] == 'target']}


def write(result, tables, out):
  """Writes a result as JSON beside copies of tables and pictures.

  Args:
    result: dict.
    tables: directory of a comparison, whose page is left out.
    out: directory that may be new.
  """
  shutil.copytree(
      tables, out, ignore=shutil.ignore_patterns('*.html'), dirs_exist_ok=True)
  with files.replacing(out / 'comparison.json') as temporary:
    temporary.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
  sys.exit(main())
