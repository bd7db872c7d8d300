"""Compares finished runs: tables, intervals, curves, a page with videos.

  python -m coworld_tf.compare --runs runs/a runs/b --out comparison
"""

import argparse
import pathlib
import sys

from coworld_tf import cli
from coworld_tf.analysis import comparison, page, runs, tables
from coworld_tf.analysis import comparison_plots as plots
from dreamerv2_base import files


def main(argv=None):
  """Runs the command line and returns the exit status."""
  args = parse_arguments(argv)
  with cli.input_errors():
    found = comparison.compare(runs.read_all(args.runs), args.reference)
    args.out.mkdir(parents=True, exist_ok=True)
    files.check_links(args.out)
  with cli.full_disk():
    figures = plots.draw(found, args.out)
    page.write(found, figures, args.out)
  print(tables.text(found))
  names = [*figures.values(), tables.EPISODES, tables.CELLS, tables.AGGREGATES]
  print(f'\nEverything is in {args.out}: {page.HTML}, {page.MARKDOWN},')
  print(', '.join(names))
  return 0


def parse_arguments(argv=None):
  """Parses the command line."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.compare', allow_abbrev=False,
      description='Compare finished runs: methods, seeds, pairs of tasks.')
  parser.add_argument(
      '--runs', type=pathlib.Path, nargs='+', required=True, metavar='RUN',
      help='directories of runs, or directories that hold some')
  parser.add_argument(
      '--out', type=pathlib.Path, required=True, metavar='DIR',
      help='directory of tables, figures and page, created')
  parser.add_argument(
      '--reference', metavar='METHOD',
      help='the row that all others are compared with (default coworld)')
  return parser.parse_args(argv)


if __name__ == '__main__':
  sys.exit(main())
