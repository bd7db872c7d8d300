"""Reads the JSON files of a run; each mistake in them is told in one line."""

import json
import sys

from dreamerv2_base import files

NAMES = {
    dict: 'object', list: 'list', str: 'text', int: 'integer',
    float: 'finite number'}


def read(path, keys):
  """Reads a file of one JSON object.

  Args:
    path: the file.
    keys: {key that it must have: type of the value}.

  Raises:
    ValueError: it is damaged, or of another version.
  """
  content = files.read_json(path)
  check(content, keys, path)
  return content


def read_lines(path):
  """Yields (line number, dict) of a file of JSON lines.

  Raises:
    ValueError: a line is damaged.
  """
  with path.open(encoding='utf-8', errors='replace') as file:
    for number, line in enumerate(file, 1):
      try:
        record = files.parse_json(line)
      except ValueError:
        record = None
      if not isinstance(record, dict):
        raise ValueError(f'{path}, line {number}: damaged, no JSON object')
      yield number, record


def read_evaluations(path):
  """Reads the lines of evaluations.jsonl as dicts.

  Raises:
    ValueError: a line is damaged, or of another version.
  """
  found = []
  for number, record in read_lines(path):
    where = f'{path}, line {number}'
    check(record, {'policy': str, 'step': int, 'returns': list}, where)
    check_episodes(record, where)
    counts = [key for key in record if key.endswith('_updates')]
    check(record, dict.fromkeys(counts, int), where)
    found.append(record)
  return found


def check(content, keys, where):
  """Checks that an object has values of the right types.

  Args:
    content: dict.
    keys: {key: type}; integers count as float.
    where: start of the message.

  Raises:
    ValueError: it has not.
  """
  for key, kind in keys.items():
    if key not in content:
      raise ValueError(f"{where}: there is no '{key}', it is of another "
                       'version of this program')
    value = content[key]
    fits = is_number(value) if kind is float else type(value) is kind
    if not fits:
      raise ValueError(f"{where}: '{key}' is {json.dumps(value):.40}, which "
                       f'is no {NAMES[kind]}')


def check_episodes(content, where):
  """Checks the returns and successes of episodes.

  Raises:
    ValueError: returns are missing or no finite numbers, or there is another
      number of successes.
  """
  returns, successes = content['returns'], content.get('successes') or []
  if not returns or not all(map(is_number, returns)):
    raise ValueError(f"{where}: 'returns' is no list of finite numbers")
  if not isinstance(successes, list) or (
      successes and len(successes) != len(returns)):
    raise ValueError(
        f"{where}: 'successes' is no list of {len(returns)} values, one for "
        'each of the returns')


def is_number(value):
  """Whether a value is a finite number, which booleans are not."""
  return type(value) in (int, float) and abs(value) <= sys.float_info.max


def dataset_facts(metadata):
  """What comparisons need of a dataset's metadata: policy, s_max, if known."""
  cut = metadata.get('cut')
  found = {
      'policy': metadata.get('policy'),
      's_max': cut.get('s_max') if isinstance(cut, dict) else None}
  return {key: value for key, value in found.items() if value is not None}
