"""Lines of the index of a store, and what they may say.

  {"format": 1, "keys": {"image": {"dtype": "uint8", "shape": [64, 64, 3]}, ...
  {"id": 0, "shard": 0, "start": 0, "rows": 501, "return": 4.5, "success": ...
  {"first_shard": 1}

The last says that earlier shards were deleted. Files are named by numbers and
by keys without dots and slashes only, so an index leads nowhere else.
"""

import json
import logging
import re

import numpy as np

from dreamerv2_base import episodes, files

NAME = 'index.jsonl'
FORMAT = 1

_LINE_BYTES = _ROW_BYTES = 2 ** 20  # An image of 590 x 590 pixels is as much.
_logger = logging.getLogger(__name__)
_DTYPES = {np.dtype(code).name for code in '?bBhHiIqQefd'}
# Lowest and highest value.
_LIMITS = {
    'id': (0, 2 ** 53), 'shard': (0, 99999), 'start': (0, 2 ** 31),
    'rows': (2, 2 ** 31), 'first_shard': (0, 99999)}


def check_directory(directory):
  """Checks that a directory has an index, or nothing that would need one.

  Raises:
    FileNotFoundError: it does not exist.
    ValueError: it holds something else.
  """
  if not directory.is_dir():
    raise FileNotFoundError(f'No such dataset directory: {directory}')
  # Looked for first, as a writer that begins now makes the index first.
  shards = any(directory.glob('shard-*'))
  path = directory / NAME
  if path.is_file():
    return
  if any(directory.glob('*.npz')):
    raise ValueError(
        f'{directory}: has episodes as npz files, which must be imported')
  if shards or (path.exists() and not path.is_file()):
    raise ValueError(f'{directory}: has shards but no {NAME}, or no file')


def encode(record):
  """Returns the line of a record.

  Raises:
    TypeError, ValueError: it has values that JSON has not.
  """
  return json.dumps(record, allow_nan=False).encode() + b'\n'


def decode(line):
  """Returns the record of a line; ValueError if there is none."""
  record = files.parse_json(line)
  if not isinstance(record, dict):
    raise ValueError('not an object')
  if 'first_shard' in record:
    _check_whole(record, 'first_shard')
  return record


def records(file, number):
  """Yields the records of an index and the bytes of the line of each.

  What follows the last line break is being written, or torn.

  Args:
    file: open index, read from where it stands.
    number: of lines before.

  Raises:
    ValueError: a line is none of an index, and not the last.
  """
  while (line := file.readline(_LINE_BYTES)).endswith(b'\n'):
    number += 1
    try:
      record = decode(line)
    except ValueError as error:
      # The header appears as a whole.
      if number == 1 or file.read(1):
        raise
      _logger.warning(
          'warning: %s: line %d, the last one, is damaged and left out: %s',
          file.name, number, error)
    else:
      yield record, len(line)
  if len(line) == _LINE_BYTES:
    raise ValueError(f'longer than {_LINE_BYTES} bytes')


def header(episode):
  """Returns the first record of a store for episodes like this.

  Raises:
    ValueError: a key has a name or a dtype that cannot be stored.
  """
  record = {'format': FORMAT, 'keys': {
      key: {'dtype': rows.dtype.name, 'shape': list(rows.shape[1:])}
      for key, rows in episode.items()}}
  parse_keys(record)
  return record


def parse_keys(record):
  """Returns the dtype of a row, shape included, for each key of the header.

  Raises:
    ValueError: it is no header, or of another format.
  """
  if record.get('format') != FORMAT:
    raise ValueError(
        f"format is {record.get('format')!r}, this version reads {FORMAT}")
  if not isinstance(record.get('keys'), dict):
    raise ValueError('keys are missing')
  dtypes = {key: _dtype(key, row) for key, row in record['keys'].items()}
  for key, (dtype, rank) in episodes.KEYS.items():
    row = dtypes.get(key)
    if row is None or row.base != dtype or len(row.shape) != rank - 1:
      raise ValueError(f'{key} is {row}, must be {dtype} of rank {rank}')
  return dtypes


def check_rows(episode, keys):
  """Raises ValueError unless an episode has the keys and rows of a store."""
  found = {
      key: f'{array.dtype.name} {list(array.shape[1:])}'
      for key, array in episode.items()}
  known = {
      key: f'{row.base.name} {list(row.shape)}' for key, row in keys.items()}
  for key in sorted({*found, *known}):
    if found.get(key) != known.get(key):
      raise ValueError(
          f"episode: {key} rows are {found.get(key, 'missing')}, those of the "
          f"other episodes {known.get(key, 'missing')}")


def check_entry(entry, keys, before):
  """Checks the record of an episode.

  Args:
    entry: the record.
    keys: names of the keys of the store.
    before: list of the record before, empty for the first.

  Raises:
    ValueError: it lacks something or overlaps with the record before.
  """
  for name in ('id', 'shard', 'start', 'rows'):
    _check_whole(entry, name)
  total = entry.get('return')
  # Not so for NaN, and without overflow for long integers.
  if not (isinstance(total, (int, float)) and -1e300 < total < 1e300):
    raise ValueError(f'return is {total!r}')
  if entry.get('success') not in (None, 0, 1):
    raise ValueError(f"success is {entry['success']!r}")
  sums = entry.get('crc32')
  if not isinstance(sums, dict) or set(sums) != set(keys):
    raise ValueError(f"crc32 must have {', '.join(keys)}")
  for last in before:
    place = entry['shard'], entry['start']
    if entry['id'] <= last['id'] or place < (last['shard'], end(last)):
      raise ValueError(f"not after episode {last['id']}")


def end(entry):
  """Returns the row of the shard after the last of an episode."""
  return entry['start'] + entry['rows']


def _dtype(key, row):
  match row:
    case {'dtype': str(dtype), 'shape': [*shape]} if (
        dtype in _DTYPES and re.fullmatch(r'\w+', key, re.ASCII)
        and all(type(size) is int and size > 0 for size in shape)):
      found = np.dtype((dtype, tuple(shape)))
      if found.itemsize <= _ROW_BYTES:
        return found
      raise ValueError(
          f'rows of {key} have {found.itemsize} bytes, the most is '
          f'{_ROW_BYTES}')
  raise ValueError(f'key {key!r} has rows {row!r}')


def _check_whole(record, name):
  value, (low, high) = record.get(name), _LIMITS[name]
  if type(value) is not int or not low <= value <= high:
    raise ValueError(f'{name} is {value!r}')
