"""SIGTERM and Ctrl-C: a run saves what it has and leaves in time."""

import contextlib
import os
import signal
import threading

SIGNALS = signal.SIGINT, signal.SIGTERM
# Seconds from a signal to the end of the process, whatever it does. Ending it
# is safe at any moment.
PATIENCE = 25
FAREWELL = 'stopped; the same command continues'


class Stopped(KeyboardInterrupt):
  """A signal that ends the program."""

  def __init__(self, number):
    """Takes the number of the signal."""
    super().__init__(signal.Signals(number).name)
    self.status = 128 + number


@contextlib.contextmanager
def raised():
  """Within it, the signals raise `Stopped` wherever the program is."""
  received = []
  def handle(number, _):
    if received:
      _leave(number)
    received.append(number)
    _leave_later(number)
    raise Stopped(number)
  with _handled(handle):
    try:
      yield
    except Exception as error:
      # Extensions in C, such as those that draw, make errors of their own of
      # what is raised within them.
      if received:
        raise Stopped(received[0]) from error
      raise


@contextlib.contextmanager
def delayed():
  """Yields a list that the first signal is added to, which raises at the end.

  The second ends the process, also after that.
  """
  received = []
  def handle(number, _):
    if received:
      _leave(number)
    _leave_later(number)
    received.append(number)
  with _handled(handle):
    yield received
  if received:
    for number in SIGNALS:
      signal.signal(number, lambda number, _: _leave(number))
    raise Stopped(received[0])


@contextlib.contextmanager
def _handled(handle):
  before = {number: signal.signal(number, handle) for number in SIGNALS}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _leave_later(number):
  """Ends the process even if Python does not get a turn before."""
  timer = threading.Timer(PATIENCE, _leave, [number])
  timer.daemon = True
  timer.start()


def _leave(number):
  """Ends the process, though threads or libraries are at work."""
  try:
    os.write(2, f'{FAREWELL}\n'.encode())
  finally:  # Whoever reads that may have ended before.
    os._exit(128 + number)
