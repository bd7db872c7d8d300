"""Errors that users can mend are told in one line."""

import errno
import os

import pytest

from coworld_tf import cli


@pytest.mark.parametrize('arguments, told', [
    (['run/metrics.jsonl'], ': run/metrics.jsonl;'), ([], ';')])
def test_full_disk(arguments, told, capsys):
  with pytest.raises(SystemExit) as info, cli.full_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *arguments)
  assert info.value.code == 2
  assert capsys.readouterr().err == (
      f'error: No space left on device{told} the same command continues once '
      'there is room\n')


def test_other_errors_are_not_of_the_disk():
  with pytest.raises(PermissionError), cli.full_disk():
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), 'run')
