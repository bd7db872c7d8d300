"""Episodes on disk as raw rows, which are read where they are needed.

  metadata.json            what the dataset is, see `episodes`
  index.jsonl              the format and the keys, then a line per episode
  shard-00000/image.bin    rows of consecutive episodes, one file per key
  shard-00000/action.bin

Everything but the metadata only grows. The line of an episode is written
after its rows are on disk, so a crash loses at most the episode being
written; what it leaves behind is overwritten by the next writer.
"""

import contextlib
import os
import pathlib
import re
import shutil
import zlib

import numpy as np

from dreamerv2_base import episodes, files, store_index

INDEX = store_index.NAME
LOCK = 'writer.lock'
SHARD_BYTES = 2 ** 30  # Of images, after which a new shard begins.


class Store:
  """Reads the episodes of a directory; any number of readers may."""

  def __init__(self, directory):
    """Reads the index, but no rows.

    Raises:
      FileNotFoundError: the directory does not exist.
      ValueError: it holds something else, or its index is damaged.
    """
    self.directory = pathlib.Path(directory)
    store_index.check_directory(self.directory)
    self.keys = {}  # Name: dtype of a row, shape included.
    self.episodes = []  # Lines of the index, oldest first.
    self.total_steps = 0  # Of all episodes, deleted ones included.
    self._first_shard = 0  # Those before were deleted.
    self._size = self._lines = 0  # Of the index, as far as it is read.
    self.refresh()

  def refresh(self):
    """Sees what a writer appended since the index was read."""
    path = self.directory / INDEX
    with contextlib.suppress(FileNotFoundError), path.open('rb') as file:
      file.seek(self._size)
      try:
        for record, size in store_index.records(file, self._lines):
          self._add(record)
          self._lines += 1
          self._size += size
      except ValueError as error:
        raise ValueError(
            f'{path}: line {self._lines + 1} is damaged: {error}') from error

  def check_files(self):
    """Raises ValueError if a file is shorter than the index says."""
    ends = {entry['shard']: store_index.end(entry) for entry in self.episodes}
    for shard, end in ends.items():
      for key, row in self.keys.items():
        file = self._open(shard, key)
        size, needed = os.fstat(file).st_size, end * row.itemsize
        os.close(file)
        if size < needed:
          raise ValueError(
              f'{self._path(shard, key)}: truncated, {size} bytes of {needed} '
              f'in {INDEX}')

  def read(self, entry, keys=None):
    """Returns an episode, or some of its keys, as they are on disk.

    Raises:
      ValueError: rows are missing; names the file.
    """
    arrays = {
        key: np.empty(entry['rows'], self.keys[key])
        for key in keys or self.keys}
    for key, array in arrays.items():
      self._fill(array, entry, key, 0)
    return arrays

  def verify(self, entry):
    """Returns the keys of an episode that are not as they were written."""
    damaged = []
    for key in self.keys:
      with contextlib.suppress(OSError, ValueError, MemoryError):
        (rows,) = self.read(entry, [key]).values()
        if zlib.crc32(rows) == entry['crc32'][key]:
          continue
      damaged.append(key)
    return damaged

  def gather(self, entries, starts, length, keys=episodes.KEYS):
    """Reads sequences, holding no more of the episodes than these.

    Args:
      entries: B elements of `episodes`.
      starts: first row of each.
      length: rows L of each.
      keys: what to read.

    Returns:
      Dict of [B, L, ...] arrays under these keys.
    """
    batch = {
        key: np.empty((len(entries), length), self.keys[key])
        for key in keys}
    for key, array in batch.items():
      for out, entry, start in zip(array, entries, starts, strict=True):
        self._fill(out, entry, key, int(start))
    return batch

  def _fill(self, out, entry, key, start):
    offset = (entry['start'] + start) * self.keys[key].itemsize
    view = memoryview(out).cast('B')
    file = self._open(entry['shard'], key)
    try:
      while view:
        count = os.preadv(file, [view], offset)
        if not count:
          raise ValueError(
              f"{self._path(entry['shard'], key)}: truncated, rows of episode "
              f"{entry['id']} are missing")
        view, offset = view[count:], offset + count
    finally:
      os.close(file)

  def _open(self, shard, key):
    try:
      # Waits for nobody where a pipe has the name of a file.
      return os.open(self._path(shard, key), os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
      self.refresh()
      if shard >= self._first_shard:
        raise
      raise ValueError(
          f'{self._path(shard, key)}: deleted meanwhile, as the oldest of a '
          'replay; start again to read what is left') from None

  def _path(self, shard, key):
    # Text, because a Path takes almost as long as the reading.
    return f'{self.directory}/shard-{shard:05d}/{key}.bin'

  def _add(self, record):
    if not self.keys:
      self.keys = store_index.parse_keys(record)
    elif 'first_shard' in record:
      self._first_shard = record['first_shard']
      self.episodes = [
          entry for entry in self.episodes
          if entry['shard'] >= self._first_shard]
    else:
      store_index.check_entry(record, self.keys, self.episodes[-1:])
      self.episodes.append(record)
      self.total_steps += record['rows'] - 1


def is_new(directory):
  """Whether a directory is missing, or has nothing but an attempt to begin."""
  left = {LOCK, f'{episodes.METADATA}.tmp'}
  return not os.path.exists(directory) or set(os.listdir(directory)) <= left


class Writer(Store, contextlib.AbstractContextManager):
  """Appends episodes; a directory has one writer at a time."""

  def __init__(self, directory):
    """Takes the lock of an existing directory.

    Raises:
      FileNotFoundError: the directory does not exist.
      ValueError: it has another writer or symbolic links, or as for `Store`.
    """
    with contextlib.ExitStack() as stack:
      files.check_links(directory)
      stack.enter_context(_lock(directory))
      super().__init__(directory)
      self.check_files()
      self._delete_shards()
      self._held = stack.pop_all()

  def __exit__(self, *_):
    self.close()

  def close(self):
    """Gives the lock back."""
    self._held.close()

  def append(self, episode, **facts):
    """Writes a complete episode and returns its entry of the index.

    Args:
      episode: dict of [N, ...] arrays, see `episodes`.
      **facts: further JSON values for the entry. Without a `success`, it is
        that of the key log_success, if there is one.

    Raises:
      ValueError: the episode is malformed or unlike those of the store.
      OSError: it cannot be written, for example because the disk is full;
        the store is as before.
    """
    episode = episodes.checked(episode)
    if not self.keys:
      header = store_index.encode(store_index.header(episode))
      with files.replacing(self.directory / INDEX) as temporary:
        temporary.write_bytes(header)
      self.refresh()
    store_index.check_rows(episode, self.keys)
    arrays = {
        key: np.ascontiguousarray(episode[key], row.base)
        for key, row in self.keys.items()}
    success = None
    if 'log_success' in arrays:
      success = int((arrays['log_success'] > 0).any())
    entry = {
        'success': success, **facts, **self._place(len(arrays['reward'])),
        'return': episodes.episode_return(arrays),
        'crc32': {key: zlib.crc32(array) for key, array in arrays.items()}}
    store_index.check_entry(entry, self.keys, self.episodes[-1:])
    line = store_index.encode(entry)
    paths = {key: self._path(entry['shard'], key) for key in arrays}
    if entry['start'] == 0:
      files.touch_all(paths.values())
    self._write([
        *((paths[key], entry['start'] * self.keys[key].itemsize, array)
          for key, array in arrays.items()),
        (self.directory / INDEX, self._size, line)])
    return self.episodes[-1]

  def drop_before(self, shard):
    """Deletes the shards before this one, and with them their episodes."""
    if shard > self._first_shard:
      line = store_index.encode({'first_shard': shard})
      self._write([(self.directory / INDEX, self._size, line)])
      self._delete_shards()

  def _write(self, parts):
    """Overwrites the ends of files, the index last: all or none of them."""
    try:
      for path, offset, data in parts:
        files.overwrite_end(path, offset, data)
    except BaseException:
      for path, offset, _ in parts:
        with contextlib.suppress(OSError):
          files.overwrite_end(path, offset, b'')
      raise
    self.refresh()

  def _place(self, rows):
    if not self.episodes:
      return {'id': 0, 'shard': self._first_shard, 'start': 0, 'rows': rows}
    last = self.episodes[-1]
    shard, start = last['shard'], store_index.end(last)
    if (start + rows) * self.keys['image'].itemsize > SHARD_BYTES:
      shard, start = shard + 1, 0
    return {'id': last['id'] + 1, 'shard': shard, 'start': start, 'rows': rows}

  def _delete_shards(self):
    for path in self.directory.glob('shard-*'):
      match = re.fullmatch(r'shard-(\d{5})', path.name)
      if match and int(match[1]) < self._first_shard:
        shutil.rmtree(path)


def remove(directory, ids):
  """Takes episodes out of the index; their rows stay where they are.

  Readers must open the directory again.

  Raises:
    FileNotFoundError, ValueError: as for `Writer`.
  """
  with _lock(directory):
    path, kept = pathlib.Path(directory) / INDEX, []
    with path.open('rb') as file:
      for record, _ in store_index.records(file, 0):
        if record.get('id') not in ids:
          kept.append(store_index.encode(record))
    with files.replacing(path) as temporary:
      temporary.write_bytes(b''.join(kept))


@contextlib.contextmanager
def _lock(directory):
  directory = pathlib.Path(directory)
  store_index.check_directory(directory)
  try:
    with files.locked(directory / LOCK):
      yield
  except BlockingIOError as error:
    raise ValueError(
        f'{directory}: another process is writing there') from error
