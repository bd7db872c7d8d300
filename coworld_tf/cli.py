"""What the command line programs share."""

import contextlib
import errno
import os
import sys
import tempfile

from envs import worker

_LENGTH = 1000  # Of a message, in characters.


class Fault(ValueError):
  """A fault ends a run; one line says what to do, and it can be resumed."""


@contextlib.contextmanager
def input_errors(kinds=(ValueError, OSError, worker.WorkerError)):
  """Turns what may be the user's to fix into one line and exit status 2.

  By default ValueError, OSError and simulators that do not start. Meant for
  the checks of what the user gave, not for the work itself, whose errors need
  their traceback.
  """
  try:
    yield
  except kinds as error:
    message = str(error)
    if isinstance(error, worker.WorkerError):
      event, *log = message.splitlines()
      message = ': '.join([event, *log[-1:]])
    if isinstance(error, OSError) and error.strerror and error.filename:
      message = f'{error.strerror}: {error.filename}'
    print('error:', _line(message), file=sys.stderr)
    sys.exit(2)


def _line(message):
  """One line of what may quote anything, such as codes for terminals."""
  message = ' '.join(message.split())
  if len(message) > _LENGTH:
    half = _LENGTH // 2
    message = f'{message[:half]} ... {message[-half:]}'
  return ''.join(x if x.isprintable() else ascii(x)[1:-1] for x in message)


@contextlib.contextmanager
def full_disk():
  """Turns a disk that fills up during the work into one line and status 2."""
  try:
    yield
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
      raise
    # What is written to an open file fails without its name.
    place = f': {error.filename}' if error.filename else ''
    print(
        f'error: {error.strerror}{place}; the same command continues once '
        'there is room', file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def quiet_loading():
  """Holds back what TensorFlow's C++ libraries print while they load.

  They write to the file descriptor before any log level is read. What was
  held back is shown if loading fails.
  """
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  sys.stderr.flush()
  stderr = os.dup(2)
  with tempfile.TemporaryFile() as held:
    os.dup2(held.fileno(), 2)
    try:
      yield
    except Exception:
      held.seek(0)
      os.write(stderr, held.read())
      raise
    finally:
      sys.stderr.flush()
      os.dup2(stderr, 2)
      os.close(stderr)
