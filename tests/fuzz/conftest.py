"""Sets how many inputs are tried and tells what came of them.

  python -m pytest tests/fuzz --examples 1000

tries so many in each test, other ones each time; without the option few, and
the same ones.
"""

import os

import hypothesis
import pytest

from tests.fuzz import sandbox


def pytest_addoption(parser):
  parser.addoption(
      '--examples', type=int, default=0, help='random inputs for each test')


def pytest_configure(config):
  count = config.getoption('examples', 0)
  hypothesis.settings.register_profile(
      'here', max_examples=count or 60, derandomize=not count, database=None,
      deadline=None, suppress_health_check=list(hypothesis.HealthCheck),
      phases=set(hypothesis.Phase) - {hypothesis.Phase.explain})
  hypothesis.settings.load_profile('here')


@pytest.fixture(scope='session', autouse=True)
def quick_disk():
  """Nothing crashes here, and waiting for the disk takes most of the time."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(os, 'fsync', lambda file: None)
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
  outcome = yield
  if outcome.excinfo and 'fuzz' in item.nodeid:
    sandbox.COUNTS['failed tests'] += 1


def pytest_terminal_summary(terminalreporter):
  if not sandbox.COUNTS:
    return
  counts = dict(sandbox.COUNTS)
  failed = counts.pop('failed tests', 0)
  kinds = ', '.join(f'{counts[key]} {key}' for key in sorted(counts))
  terminalreporter.write_line(
      f'fuzzed: {sum(counts.values())} inputs: {kinds}; {failed} tests with '
      'tracebacks, hangs, writes elsewhere or too much memory')
