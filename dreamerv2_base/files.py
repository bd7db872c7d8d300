"""Files that appear on disk complete or not at all."""

import contextlib
import os
import pathlib


@contextlib.contextmanager
def replacing(path):
  """Yields a temporary path that takes the place of `path` at the end.

  The caller must write the temporary file. After an exception it is removed
  and `path` is as before.
  """
  path = pathlib.Path(path)
  # Added at the end, because '*.npz' and the like must not find it.
  temporary = path.with_name(f'{path.name}.tmp')
  try:
    yield temporary
    with temporary.open('r+b') as file:
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
