"""Writing that a crash at any moment leaves in order, and reading of JSON."""

import contextlib
import fcntl
import json
import os
import pathlib
import stat


@contextlib.contextmanager
def replacing(path):
  """Yields a temporary path that takes the place of `path` at the end.

  The caller must write the temporary file. After an exception it is removed
  and `path` is as before.
  """
  path = pathlib.Path(path)
  # Added at the end, because '*.npz' and the like must not find it.
  temporary = path.with_name(f'{path.name}.tmp')
  temporary.unlink(missing_ok=True)  # It could be a link to anywhere.
  try:
    yield temporary
    with temporary.open('r+b') as file:
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError as error:
    error.filename = error.filename or str(path)  # Unknown to a full disk.
    raise
  finally:
    temporary.unlink(missing_ok=True)


def overwrite_end(path, offset, data):
  """Replaces what a file has from an offset on, if it has, by a buffer.

  Returns when it is on disk. After an exception the file is longer, shorter
  or other than it was, but only from the offset on.
  """
  view = memoryview(data).cast('B')
  # Through a link this would destroy a file somewhere else.
  flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
  try:
    file = os.open(path, flags, 0o666)
    try:
      os.ftruncate(file, offset)
      while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count
      os.fsync(file)
    finally:
      os.close(file)
  except OSError as error:
    error.filename = error.filename or str(path)
    raise


def touch_all(paths):
  """Makes empty files in a folder that may be new, names included on disk."""
  folder = pathlib.Path(next(iter(paths))).parent
  folder.mkdir(exist_ok=True)
  for path in paths:
    pathlib.Path(path).touch()
  for place in (folder, folder.parent):
    file = os.open(place, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


@contextlib.contextmanager
def locked(path):
  """Holds a lock that ends with the process, however that ends.

  Raises:
    BlockingIOError: another process holds it.
  """
  with pathlib.Path(path).open('a') as file:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield


def check_links(directory):
  """Raises ValueError if there are symbolic links, pipes or the like."""
  for folder, folders, names in os.walk(directory):
    for name in [*folders, *names]:
      path = os.path.join(folder, name)
      mode = os.lstat(path).st_mode
      if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError(
            f'{path}: is a symbolic link or a pipe, nothing is written where '
            'such are; put what a link leads to in its place')


def parse_json(text):
  """Returns what a text or bytes of JSON say; ValueError if they are none."""
  try:
    return json.loads(text)
  except RecursionError:
    raise ValueError('nested too deeply') from None
