"""Episodes and dataset metadata on disk, in the layout of DreamerV2.

One compressed `<timestamp>-<32 hex>-<transitions>.npz` file per episode:

  row        0         1         2        ...
  image      reset     reached   reached        uint8    [N, H, W, C]
  action     zeros     led here  led here       float32  [N, A]
  reward     0         arrival   arrival        float32  [N]
  is_first   True      False     False          bool     [N]
  is_last, is_terminal                          bool     [N]
"""

import datetime
import json
import math
import pathlib
import uuid
import zipfile
import zlib

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

# What NumPy and zipfile were seen to raise for thousands of archives with
# flipped and missing bytes.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError,
    NotImplementedError, RuntimeError)


def save_episode(directory, episode):
  """Writes one episode atomically and returns its path.

  Names sort in the order of saving. Raises ValueError for a malformed
  episode, in which case nothing is written.
  """
  episode = checked(episode)
  now = datetime.datetime.now(datetime.timezone.utc)
  transitions = len(episode['reward']) - 1
  name = f'{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex}-{transitions}.npz'
  path = pathlib.Path(directory) / name
  with files.replacing(path) as temporary, temporary.open('wb') as stream:
    np.savez_compressed(stream, **episode)
  return path


def load_episode(path):
  """Reads one episode; ValueError names the file and what is wrong."""
  return checked(_read(path, _known), path)


def stored_steps(path):
  """Agent steps of a stored episode, found without reading its images.

  Raises:
    ValueError: names the file and what is wrong.
  """
  arrays = _read(path, lambda key: key == 'reward')
  if 'reward' not in arrays:
    raise ValueError(f'{path}: keys missing: reward')
  return len(arrays['reward']) - 1


def find_episodes(directory):
  """Sorted paths of the episodes in a directory, oldest first."""
  directory = pathlib.Path(directory)
  if not directory.is_dir():
    raise FileNotFoundError(f'No such dataset directory: {directory}')
  return sorted(directory.glob('*.npz'))


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
  """Reads the metadata of a dataset directory as a dict."""
  path = pathlib.Path(directory) / METADATA
  if not path.is_file():
    raise FileNotFoundError(f'No {METADATA} in {directory}')
  try:
    metadata = json.loads(path.read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(f'{path}: not valid JSON ({error})') from error
  if not isinstance(metadata, dict):
    raise ValueError(f'{path}: must hold a JSON object of named values')
  return metadata


def _read(path, wanted):
  """Arrays of an archive whose keys are wanted, unchecked."""
  with pathlib.Path(path).open('rb') as stream:
    try:
      archive = np.load(stream, allow_pickle=False)
      names = [] if isinstance(archive, np.ndarray) else archive.files
      return {key: archive[key] for key in names if wanted(key)}
    except _DAMAGE as error:
      raise ValueError(
          f'{path}: not a readable npz archive, truncated or damaged '
          f'({error})') from error


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
