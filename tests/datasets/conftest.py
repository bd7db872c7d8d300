"""Fixtures for tests of the command line of datasets."""

import pytest

from coworld_tf.datasets import __main__ as program
from coworld_tf.datasets import importers
from dreamerv2_base import episodes, store
from tests.datasets import sources


@pytest.fixture
def contents():
  """Episodes of different lengths."""
  return [sources.content(rows=5 + index, seed=index) for index in range(4)]


@pytest.fixture
def run(tmp_path, capsys):
  """Imports tmp_path/source in this process; returns store and output."""
  def run(*flags, source=tmp_path / 'source'):
    out = tmp_path / 'out'
    capsys.readouterr()
    assert importers.main([str(source), '--out', str(out), *flags]) == 0
    return store.Store(out), capsys.readouterr().out
  return run


@pytest.fixture
def fails(tmp_path, capsys):
  """Imports tmp_path/source, which must fail with a line; returns it."""
  def fails(*flags, source=tmp_path / 'source'):
    capsys.readouterr()
    with pytest.raises(SystemExit) as info:
      importers.main([str(source), '--out', str(tmp_path / 'out'), *flags])
    output = capsys.readouterr()
    assert info.value.code == 2 and output.out == ''
    assert output.err.startswith('error: ') and output.err.count('\n') == 1
    return output.err
  return fails


@pytest.fixture
def source(tmp_path):
  """An empty folder to import from."""
  path = tmp_path / 'source'
  path.mkdir()
  return path


@pytest.fixture
def dataset(tmp_path, contents):
  """The directory of a dataset made of the contents."""
  path = tmp_path / 'dataset'
  path.mkdir()
  with store.Writer(path) as writer:
    for index, ep in enumerate(contents):
      writer.append(ep, success=index % 2)
  returns = [entry['return'] for entry in store.Store(path).episodes]
  episodes.write_metadata(path, {
      'task': 'dmc_walker_walk', 'action_repeat': 2, 'episodes': 4,
      'steps': 22, 'frames': 44, 'complete': True,
      'returns': episodes.return_statistics(returns)})
  return path


@pytest.fixture
def command(capsys):
  """Runs a command; returns the exit status, output and errors."""
  def command(*argv):
    capsys.readouterr()
    try:
      status = program.main([str(word) for word in argv])
    except SystemExit as error:
      status = error.code
    return (status, *capsys.readouterr())
  return command
