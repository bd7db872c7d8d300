"""A dataset, a run and its exported policy, once for all tests of exports."""

import pytest

from coworld_tf.datasets import collect
from tests.export import runs


@pytest.fixture(scope='session')
def dataset(tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'dummy'
  assert collect.main([
      '--task', 'dummy_2', '--steps', '50', '--time_limit', '12',
      '--quality', 'fast', '--out', str(path)]) == 0
  return path


@pytest.fixture(scope='session')
def run(dataset, tmp_path_factory):
  """A run whose agent has three actions, for a target with two."""
  logdir = tmp_path_factory.mktemp('run')
  return runs.train(dataset, logdir, 'dv2_finetune', '--compile', 'graph')


@pytest.fixture(scope='session')
def exported(run, tmp_path_factory):
  out = tmp_path_factory.mktemp('exports') / 'policy'
  assert runs.export(run, out) == 0
  return out
