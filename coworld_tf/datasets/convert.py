"""Turns an episode of any source into one of this project.

  source, arrival     source, departure    here
  o0  o1  o2  o3      o0  o1  o2  o3       o0  o1  o2  o3
  0   a1  a2  a3      a1  a2  a3  (a4)     0   a1  a2  a3
  0   r1  r2  r3      r1  r2  r3  (r4)     0   r1  r2  r3

a1 led from o0 to o1. Whatever is changed is told; what cannot be repaired
for certain is an error.
"""

import numpy as np

from dreamerv2_base import episodes

ALIGNMENTS = 'auto', 'arrival', 'departure'
# Actions further outside of their bounds are not due to rounding.
_TOLERANCE = 1e-3
_FLAGS = 'is_first', 'is_last', 'is_terminal'


def episode(
    arrays, name, form, alignment='auto', size=None, bounds=None):
  """Converts what was read of one episode.

  Args:
    arrays: dict of image, action, reward and optionally flags, discount and
      `log_*`, in the data types and the alignment of the source.
    name: of the episode, for messages.
    form: format of the source, one of `formats.FORMATS`.
    alignment: one of `ALIGNMENTS`.
    size: height and width to shrink the images to, None for their own.
    bounds: lower and upper bounds [A] of the actions, None for -1 and 1.

  Returns:
    The episode and a list of lines that say what was repaired.

  Raises:
    ValueError: the episode cannot be used; one line names the reason.
  """
  repairs = []
  for key, value in arrays.items():
    if np.asarray(value).dtype.kind not in 'fiub':
      raise ValueError(
          f'{name}: {key} is {np.asarray(value).dtype}, must be numbers')
  data = {
      key: np.asarray(value) for key, value in arrays.items()
      if key in episodes.KEYS or key.startswith('log_')}
  data['is_terminal'] = _terminal(arrays, form, repairs)
  for key, value in data.items():
    if not value.ndim:
      raise ValueError(f'{name}: {key} is a single value, not one per row')
  if min(map(len, data.values())) < 1 or len(data['image']) < 2:
    raise ValueError(f'{name}: {len(data["image"])} rows, too few')
  data['image'] = _images(data['image'], name, size, repairs)
  data['action'] = _actions(data['action'], name, bounds, repairs)
  data['reward'] = _numbers(data['reward'], 'reward', repairs)
  if data['reward'].shape[1:] == (1,):
    data['reward'] = data['reward'][:, 0]
  data = _aligned(data, name, alignment, repairs)
  for key in ('action', 'reward'):
    if data[key][0].any():
      data[key][0] = 0
      repairs.append(f'{key} of the reset row set to 0')
  data.update(_flags(data, name, repairs))
  return episodes.checked(data, name), list(dict.fromkeys(repairs))


def success(arrays):
  """{'success': 0 or 1} of an episode whose source says it, otherwise {}."""
  if 'success' not in arrays:
    return {}
  return {'success': int(np.any(np.asarray(arrays['success']) > 0))}


def shrink(images, size):
  """Area means of images [N, H, W, C] uint8 at a smaller height and width."""
  rows, columns = (_shares(old, size) for old in images.shape[1:3])
  means = np.einsum(
      'yh,nhwc,xw->nyxc', rows, images.astype(np.float32), columns,
      optimize=True)
  return np.rint(means).astype(np.uint8)


def _shares(old, new):
  """[new, old] shares of the old pixels in each of the new ones."""
  edges, pixels = np.linspace(0, old, new + 1), np.arange(old)
  overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(
      edges[:-1, None], pixels)
  return (np.maximum(overlap, 0) * new / old).astype(np.float32)


def _terminal(arrays, form, repairs):
  """Where the environment itself ended the episode."""
  stored, discount = arrays.get('is_terminal'), arrays.get('discount')
  # CoWorld's release marks time limits as terminal in some suites.
  if discount is not None and (form == 'coworld' or stored is None):
    terminal = np.asarray(discount) == 0
    if stored is None:
      repairs.append('is_terminal made from discount')
    elif (np.asarray(stored) != terminal).any():
      repairs.append('is_terminal corrected by discount')
    return terminal
  if stored is None:
    repairs.append('is_terminal is absent: taken as a time limit')
    return np.zeros(len(arrays['reward']), bool)
  return np.asarray(stored)


def _images(images, name, size, repairs):
  if images.ndim == 4 and images.shape[1] in (1, 3) and (
      images.shape[3] not in (1, 3)):
    images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    repairs.append('images moved from channels first to channels last')
  if size is None or images.shape[1:3] == (size, size):
    return images
  if images.ndim != 4 or images.dtype != np.uint8:
    return images  # A fault that the final check describes.
  if not 0 < size <= min(images.shape[1:3]):
    height, width = images.shape[1:3]
    raise ValueError(
        f'{name}: images of {height} x {width} cannot be shrunk to {size}')
  repairs.append('images of {} x {} shrunk to {size} x {size}'.format(
      *images.shape[1:3], size=size))
  return shrink(images, size)


def _actions(actions, name, bounds, repairs):
  actions = _numbers(actions, 'action', repairs)
  if bounds is not None and not all(
      np.all(np.abs(bound) == 1) for bound in bounds):
    low, high = bounds
    actions = 2 * (actions - low) / (high - low) - 1
    repairs.append('actions scaled from their bounds to [-1, 1]')
  actions = actions.astype(np.float32)
  largest = np.abs(actions).max(initial=0)
  if largest > 1 + _TOLERANCE and np.isfinite(largest):
    raise ValueError(
        f'{name}: actions reach {largest:.4g}, must lie in [-1, 1]; scale '
        'them by their bounds')
  if 1 < largest <= 1 + _TOLERANCE:
    actions = np.clip(actions, -1, 1)
    repairs.append('actions clipped that left [-1, 1] by rounding')
  return actions


def _numbers(values, key, repairs):
  """A copy in float32."""
  if values.dtype != np.float32:
    repairs.append(f'{key} made float32 of {values.dtype}')
  return values.astype(np.float32)


def _aligned(data, name, alignment, repairs):
  """Every key with one value for each observation, as on its arrival."""
  rows, steps = len(data['image']), len(data['action'])
  if alignment == 'auto':
    alignment = 'departure' if rows == steps + 1 else 'arrival'
    if alignment == 'arrival' and np.nan_to_num(data['action'][0]).any():
      raise ValueError(
          f'{name}: row 0 has an action; say whether an action is that taken '
          'from the observation of its row (--alignment departure) or that '
          'which led to it (--alignment arrival)')
  if alignment == 'arrival':
    return data
  if steps not in (rows - 1, rows):
    raise ValueError(f'{name}: {rows} images do not fit {steps} actions')
  repairs.append('actions and rewards moved to the observation they led to')
  if steps == rows:
    repairs.append('last action and reward left out: they led to nothing')
    if np.any(data.get('is_terminal', [False])[-1:]):
      repairs.append('the end of the episode left out with its last action')
  moved = {}
  for key, value in data.items():
    stays = key in ('image', 'is_first') or len(value) != steps
    before = np.zeros_like(value[:1])
    moved[key] = value if stays else np.concatenate([before, value])[:rows]
  return moved


def _flags(data, name, repairs):
  """Flags of a single episode, set where the source has none."""
  rows = len(data['image'])
  flags = {key: np.array(data.get(key, np.zeros(rows))) for key in _FLAGS}
  for key, values in flags.items():
    if values.dtype != bool and key in data:
      repairs.append(f'flags made bool of {values.dtype}')
    flags[key] = values = values.reshape(len(values), -1).any(1)
    inside = values[1:] if key == 'is_first' else values[:-1]
    if inside.any():
      row = int(np.flatnonzero(inside)[0]) + (key == 'is_first')
      raise ValueError(
          f'{name}: {key} in row {row} of {len(values)}; there must be one '
          'whole episode')
  for key, row, place in (('is_first', 0, 'first'), ('is_last', -1, 'last')):
    if not flags[key][row]:
      flags[key][row] = True
      repairs.append(f'{key} set in the {place} row')
  return flags
