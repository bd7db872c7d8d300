"""What the command line programs share."""

import contextlib
import sys


@contextlib.contextmanager
def input_errors():
  """Turns ValueError and OSError into one line on stderr and exit status 2.

  Meant for the checks of what the user gave, not for the work itself, whose
  errors need their traceback.
  """
  try:
    yield
  except (ValueError, OSError) as error:
    message = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
      message = f'{error.strerror}: {error.filename}'
    print('error:', ' '.join(message.split()), file=sys.stderr)
    sys.exit(2)
