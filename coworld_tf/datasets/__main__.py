"""Datasets: make them, bring them, check them.

  python -m coworld_tf.datasets collect | import | export | info | validate
"""

import argparse
import importlib
import sys

# The module of each command; only the one that runs is loaded.
COMMANDS = {
    'collect': ('collect', 'make a dataset by running a policy'),
    'import': ('importers', 'bring a dataset of another format'),
    'export': ('exporters', 'write a dataset in another format'),
    'info': ('info', 'tell what a dataset holds'),
    'validate': ('validate', 'check a dataset, and repair it'),
}


def main(argv=None):
  """Runs a command and returns its exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m coworld_tf.datasets', allow_abbrev=False,
      description='Make, bring and check offline datasets.',
      epilog='COMMAND --help tells the options of a command.',
      formatter_class=argparse.RawDescriptionHelpFormatter)
  commands = parser.add_subparsers(
      dest='command', metavar='COMMAND', required=True)
  for name, (_, text) in COMMANDS.items():
    commands.add_parser(name, help=text, add_help=False)
  argv = sys.argv[1:] if argv is None else argv
  command = parser.parse_args(argv[:1]).command
  module, _ = COMMANDS[command]
  module = importlib.import_module(f'coworld_tf.datasets.{module}')
  return module.main(argv[1:])


if __name__ == '__main__':
  sys.exit(main())
