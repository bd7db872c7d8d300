"""Compares exported training steps with TensorFlow over 100 updates.

  python -m benchmarks.stablehlo

DreamerV2 and the target update of CoWorld, at the `small` size, in float32
and bfloat16, each exported by export.py and repeated by run.py in processes
of their own. TensorFlow makes its updates under XLA. Writes
benchmarks/results/stablehlo.json; status 1 if any losses differ.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from benchmarks import machine
from coworld_tf import processes
from dreamerv2_base import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'benchmarks' / 'results' / 'stablehlo.json'
METHODS, PRECISIONS = ('dreamerv2', 'coworld'), ('32', 'bfloat16')


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.stablehlo',
      description=__doc__.split('\n')[0])
  parser.parse_args(argv)
  facts = machine.facts()
  processes.listen()
  try:
    runs = [
        measure('--configs', method, 'small', '--precision', precision,
                '--compile', 'xla')
        for method in METHODS for precision in PRECISIONS]
  except KeyboardInterrupt:
    return 130
  with files.replacing(RESULTS) as temporary:
    temporary.write_text(
        json.dumps({'machine': facts, 'runs': runs}, indent=2) + '\n')
  print(table(runs))
  return 0 if all(run['losses']['equal'] for run in runs) else 1


def measure(*flags):
  """Exports a step and repeats it; returns the result of run.py."""
  with tempfile.TemporaryDirectory() as directory:
    result = pathlib.Path(directory) / 'result.json'
    call('-m', 'benchmarks.stablehlo.export', '--out', directory, *flags)
    # Status 1 is a result too.
    call(pathlib.Path(__file__).with_name('run.py'), directory, '--out',
         result, results=(0, 1))
    return json.loads(result.read_text())


def call(*argv, results=(0,)):
  """Runs a program.

  Raises:
    RuntimeError: its status is none of `results`.
  """
  process = processes.start(
      list(map(str, argv)), stdout=subprocess.DEVNULL)
  try:
    status = process.wait()
  finally:
    processes.stop([process])
  if status not in results:
    raise RuntimeError(f"{' '.join(map(str, argv))} ended with {status}")


def table(runs):
  """Returns the comparisons as a Markdown table."""
  lines = [
      '| method | precision | updates while near | largest difference of '
      'these | from the middle on | of all updates | equal |',
      '|---|---|---|---|---|---|---|']
  for run in runs:
    settings, losses = run['settings'], run['losses']
    cells = [
        settings['method'], settings['precision'],
        f"{losses['updates_near']} of {losses['updates']}",
        losses['largest_while_near'], losses['largest_from_the_middle'],
        max(losses['largest'].values()), 'yes' if losses['equal'] else 'no']
    lines.append(f"| {' | '.join(map(str, cells))} |")
  return '\n'.join(lines)


if __name__ == '__main__':
  sys.exit(main())
