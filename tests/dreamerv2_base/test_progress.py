"""Progress off and on a terminal, and regular events."""

import logging
import re
import sys

import pytest

from dreamerv2_base import logger
from dreamerv2_base import progress as progresses


@pytest.fixture
def messages():
  lines = []
  handler = logging.Handler()
  handler.emit = lambda record: lines.append(record.getMessage())
  log = logging.getLogger('dreamerv2_base')
  level = log.level
  log.addHandler(handler)
  log.setLevel(logging.INFO)
  yield lines
  log.removeHandler(handler)
  log.setLevel(level)


def test_plain_lines(messages, monkeypatch):
  clock = [100.0]
  monkeypatch.setattr(progresses.time, 'monotonic', lambda: clock[0])
  bar = progresses.Progress(5000, 'source 3/11', initial=1000)
  assert bar.line() == 'source 3/11: 1000/5000 updates'
  for _ in range(25):
    clock[0] += 1
    bar.update(10)
  clock[0] += 5
  bar.update(0)
  bar.close()
  assert messages == [
      'source 3/11: 1100/5000 updates, 10/s, 6m30s left',
      'source 3/11: 1200/5000 updates, 10/s, 6m20s left',
      'source 3/11: 1250/5000 updates, 8.33/s, 7m30s left']


def test_bar_on_terminal(messages, monkeypatch, capsys):
  monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
  bar = progresses.Progress(8, 'target 1/2', initial=2, unit='frame')
  bar.update(5)
  bar.update(3)
  bar.close()
  text = capsys.readouterr().err
  assert 'target 1/2' in text and '8/8' in text and 'frames' in text
  assert messages == []


def test_message_above_bar(monkeypatch, capsys):
  log = logging.getLogger('dreamerv2_base')
  before = log.handlers[:], log.level, log.propagate
  logger.setup_terminal()
  logger.setup_terminal()
  monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
  bar = progresses.Progress(8, 'target', initial=2)
  log.info('saved')
  bar.close()
  log.handlers[:], log.level, log.propagate = before
  text = capsys.readouterr().err
  assert len(re.findall(r'[\r ]saved\n', text)) == 1


def test_nothing_past_the_total():
  bar = progresses.Progress(8, 'collect', initial=2, unit='frame')
  bar.update(9)
  assert bar.line().startswith('collect: 8/8 frames, ')
  bar = progresses.Progress(8, 'collect', initial=10, unit='frame')
  assert bar.line() == 'collect: 8/8 frames'


@pytest.mark.parametrize('seconds, text', [
    (0.2, '0s'), (45, '45s'), (59.9, '1m00s'), (380, '6m20s'),
    (11100, '3h05m')])
def test_duration(seconds, text):
  assert progresses.duration(seconds) == text
