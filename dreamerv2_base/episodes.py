"""What an episode is, and the metadata of a directory of episodes.

An episode is a dict of arrays, in which row t has the observation that was
reached, the action that led there and the reward on arrival:

  row        0         1         2        ...
  image      reset     reached   reached        uint8    [N, H, W, C]
  action     zeros     led here  led here       float32  [N, A]
  reward     0         arrival   arrival        float32  [N]
  is_first   True      False     False          bool     [N]
  is_last, is_terminal                          bool     [N]
  log_*                                         numbers  [N, ...]
"""

import json
import math
import pathlib

import numpy as np

from dreamerv2_base import files

# Name: (dtype, rank).
KEYS = {
    'image': ('uint8', 4),
    'action': ('float32', 2),
    'reward': ('float32', 1),
    'is_first': ('bool', 1),
    'is_last': ('bool', 1),
    'is_terminal': ('bool', 1),
}

METADATA = 'metadata.json'
# Entries of the metadata that are calculated with.
_TYPES = {
    'action_repeat': int, 'episodes': int, 'steps': int, 'frames': int,
    'complete': bool, 'imported': dict, 'returns': dict, 'repairs': dict,
    'notes': list}


def checked(episode, name='episode'):
  """The episode as NumPy arrays of the known and `log_*` keys, validated.

  Raises:
    ValueError: names the first fault; `name` starts the message.
  """
  missing = [key for key in KEYS if key not in episode]
  if missing:
    raise ValueError(
        f'{name}: keys missing: {", ".join(missing)} '
        f'(found {", ".join(sorted(episode)) or "none"})')
  arrays = {k: np.asarray(v) for k, v in episode.items() if _known(k)}
  for key, array in arrays.items():
    fault = _fault(key, array)
    if fault:
      raise ValueError(f'{name}: {key} {fault}')
  lengths = {key: len(array) for key, array in arrays.items()}
  if len(set(lengths.values())) > 1:
    raise ValueError(f'{name}: keys differ in length: {lengths}')
  if lengths['reward'] < 2:
    raise ValueError(
        f'{name}: {lengths["reward"]} rows, an episode has at least 2')
  if not arrays['is_first'][0]:
    raise ValueError(f'{name}: is_first is false in row 0, the reset')
  return arrays


def episode_return(episode):
  """Sum of the rewards of one episode."""
  return float(np.sum(episode['reward'], dtype=np.float64))


def return_statistics(returns):
  """Mean, its error, spread and quartiles of one or more returns, by name.

  The standard deviation is that of the population the returns are drawn
  from (n - 1), and the standard error that of their mean; a single return
  tells nothing about either and gives zeros.
  """
  count = len(returns)
  std = float(np.std(returns, ddof=1)) if count > 1 else 0.0
  low, first, median, third, high = np.percentile(
      returns, [0, 25, 50, 75, 100]).tolist()
  return {
      'mean': float(np.mean(returns)), 'std': std,
      'stderr': std / math.sqrt(count), 'min': low, 'q25': first,
      'median': median, 'q75': third, 'max': high}


def write_metadata(directory, metadata):
  """Writes the metadata of a dataset directory atomically."""
  text = json.dumps(metadata, indent=2) + '\n'
  with files.replacing(pathlib.Path(directory) / METADATA) as temporary:
    temporary.write_text(text, encoding='utf-8')


def read_metadata(directory):
  """Reads the metadata of a dataset directory as a dict.

  Raises:
    FileNotFoundError: there are none.
    ValueError: they are damaged, or an entry is of another type than here.
  """
  path = pathlib.Path(directory) / METADATA
  if not path.is_file():
    raise FileNotFoundError(f'No {METADATA} in {directory}')
  metadata = files.read_json(path)
  for key, kind in _TYPES.items():
    if key in metadata and type(metadata[key]) is not kind:
      raise ValueError(
          f'{path}: {key} is {metadata[key]!r}, must be {kind.__name__}')
    if kind is int and not 0 <= metadata.get(key, 0) < 2 ** 53:
      raise ValueError(f'{path}: {key} is {metadata[key]}, out of range')
  return metadata


def _known(key):
  return key in KEYS or key.startswith('log_')


def _fault(key, array):
  if key not in KEYS:
    numeric = array.dtype.kind in 'biuf' and array.ndim >= 1
    return None if numeric else 'must be numbers or bools, one row per step'
  dtype, rank = KEYS[key]
  found = f'{array.dtype} {list(array.shape)}'
  if array.ndim == 4 and key == 'image' and array.shape[3] > array.shape[1]:
    return f'is {found}, probably channels first; transpose to [N, H, W, C]'
  if array.dtype != dtype or array.ndim != rank:
    hint = ''
    if key == 'image' and array.dtype.kind == 'f':
      hint = '; scale floats back to 0..255 and round'
    return f'is {found}, must be {dtype} of rank {rank}{hint}'
  if dtype == 'float32' and not np.isfinite(array).all():
    row = int(np.argwhere(~np.isfinite(array))[0, 0])
    return f'is not finite in row {row}'
  return None
