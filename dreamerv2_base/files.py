"""Writing that a crash at any moment leaves in order; reading of JSON."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import stat

CHECKSUMS = 'SHA256SUMS'


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
    sync(path.parent)  # Or what is written next could be there before it.
  except OSError as error:
    error.filename = error.filename or str(path)  # Unknown to a full disk.
    raise
  finally:
    temporary.unlink(missing_ok=True)


def read_json(path):
  """Reads a JSON file of named values as a dict.

  Raises:
    ValueError: it is something else.
    OSError: it is missing or cannot be read.
  """
  path = pathlib.Path(path)
  try:
    content = parse_json(path.read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(f'{path}: damaged, not valid JSON ({error})') from None
  if not isinstance(content, dict):
    raise ValueError(f'{path}: must hold named values, but is no JSON object')
  return content


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
    sync(place)


def sync(path):
  """Returns when a file, or what a folder lists, is on disk."""
  file = os.open(path, os.O_RDONLY)
  try:
    os.fsync(file)
  finally:
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


def write_checksums(directory):
  """Writes SHA256SUMS of all files in a folder, for `sha256sum -c` as well.

  Returns when the folder and everything in it is on disk.
  """
  directory = pathlib.Path(directory)
  (directory / CHECKSUMS).unlink(missing_ok=True)
  names = _names(directory)
  lines = [f'{_sha256(directory / name)}  {name}\n' for name in names]
  (directory / CHECKSUMS).write_text(''.join(lines), encoding='utf-8')
  folders = {directory, *(
      parent for name in names for parent in (directory / name).parents
      if directory in parent.parents)}
  for path in [directory / CHECKSUMS, *map(directory.joinpath, names)]:
    sync(path)
  for path in folders:
    sync(path)


def check_checksums(directory):
  """Reads a folder of `write_checksums` again.

  Raises:
    ValueError: it has other files or other bytes; names the first.
    OSError: something cannot be read.
  """
  directory = pathlib.Path(directory)
  path = directory / CHECKSUMS
  if not path.is_file():
    raise ValueError(f'{path}: missing, so that nothing can be checked')
  try:
    lines = path.read_text(encoding='utf-8').splitlines()
    sums = dict(reversed(line.split('  ', 1)) for line in lines)
  except ValueError:
    raise ValueError(f'{path}: has lines other than of sha256sum') from None
  found = set(_names(directory)) - {CHECKSUMS}
  # Names that lead elsewhere are never found, and so are not opened.
  for name in sorted({*sums, *found}):
    path = directory / name
    if name not in found:
      raise ValueError(f'{path}: missing, but in {CHECKSUMS}')
    if name not in sums:
      raise ValueError(f'{path}: not in {CHECKSUMS}')
    if path.is_symlink() or not path.is_file():
      raise ValueError(f'{path}: is a link or no file')
    if _sha256(path) != sums[name]:
      raise ValueError(f'{path}: damaged, not as {CHECKSUMS} says')


def _names(directory):
  """Everything in a folder that is no folder, relative to it, in order."""
  return sorted(
      path.relative_to(directory).as_posix() for path in directory.rglob('*')
      if path.is_symlink() or not path.is_dir())


def _sha256(path):
  digest = hashlib.sha256()
  with path.open('rb') as file:
    while block := file.read(2 ** 20):
      digest.update(block)
  return digest.hexdigest()


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
