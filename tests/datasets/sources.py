"""Writers of foreign dataset formats, made from their descriptions.

Nothing here uses the package, nor NumPy's own writer of npz files.
"""

import io
import json
import zipfile

import h5py
import numpy as np
from PIL import Image


def content(rows=7, seed=0, size=16, actions=2):
  """Aligned on arrival, as in this project; an episode cut by time."""
  rng = np.random.default_rng(seed)
  action = rng.uniform(-1, 1, (rows, actions)).astype(np.float32)
  reward = rng.uniform(0, 1, rows).astype(np.float32)
  action[0] = reward[0] = 0
  return {
      'image': rng.integers(0, 256, (rows, size, size, 3), np.uint8),
      'action': action, 'reward': reward,
      'is_first': np.arange(rows) == 0,
      'is_last': np.arange(rows) == rows - 1,
      'is_terminal': np.zeros(rows, bool)}


def npy(array):
  """The bytes of a .npy file, version 1.0."""
  array = np.asarray(array)
  header = str({
      'descr': array.dtype.str, 'fortran_order': False, 'shape': array.shape})
  header += ' ' * (-(10 + len(header) + 1) % 64) + '\n'
  return (b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little')
          + header.encode('latin1') + array.tobytes())


def npz(path, arrays):
  """A compressed npz file."""
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    for key, array in arrays.items():
      archive.writestr(f'{key}.npy', npy(array))
  return path


def coworld(path, ep, success=None):
  """CoWorld's release of Meta-World: no flags, a discount, 64-bit numbers."""
  rows = len(ep['reward'])
  arrays = {
      'image': ep['image'], 'action': ep['action'],
      'reward': ep['reward'].astype(np.float64),
      'discount': np.where(ep['is_terminal'], 0, 1).astype(np.float32),
      'logprob': np.zeros(rows, np.float32),
      'state': np.ones((rows, 39), np.float32)}
  if success is not None:
    arrays['success'] = np.full(rows, success, np.float32)
  return npz(path, arrays)


def coworld_robodesk(path, ep):
  """CoWorld's release of RoboDesk: a time limit marked as terminal."""
  flag = lambda key: ep[key].astype(np.uint8)
  return npz(path, {
      'image': ep['image'], 'action': ep['action'], 'reward': ep['reward'],
      'discount': np.ones(len(ep['reward']), np.float32),
      'logprob': np.zeros(len(ep['reward']), np.float32),
      'proprioception': np.ones((len(ep['reward']), 24), np.float32),
      'is_first': flag('is_first'), 'is_last': flag('is_last'),
      'is_terminal': flag('is_last')})


def vd4rl(path, ep):
  """V-D4RL at 64 pixels, walker: proprioception beside DreamerV2's keys."""
  rows = len(ep['reward'])
  return npz(path, {
      **ep, 'height': np.ones(rows), 'orientations': np.ones((rows, 14)),
      'velocity': np.ones((rows, 9))})


def vd4rl_hdf5(path, eps, first=0, last=None):
  """V-D4RL at 84 pixels: episodes one after another, rows first to last."""
  columns = {
      'observation': [ep['image'].transpose(0, 3, 1, 2) for ep in eps],
      'action': [ep['action'] for ep in eps],
      'reward': [ep['reward'] for ep in eps],
      'discount': [np.ones(len(ep['reward']), np.float32) for ep in eps],
      'step_type': [
          np.where(ep['is_first'], 0.0, np.where(ep['is_last'], 2.0, 1.0))
          for ep in eps]}
  with h5py.File(path, 'w') as file:
    for key, parts in columns.items():
      file[key] = np.concatenate(parts)[first:last]
  return path


def minari(path, eps, observations, space=None):
  """Minari's folder: N + 1 observations of N actions in each group.

  `observations` turns images [N, H, W, 3] into {path in the group: array}.
  """
  folder = path / 'data'
  folder.mkdir(parents=True)
  with h5py.File(folder / 'main_data.hdf5', 'w') as file:
    for number, ep in enumerate(eps):
      group = file.create_group(f'episode_{number}')
      group.attrs['id'] = number
      group.attrs['total_steps'] = len(ep['reward']) - 1
      for key, value in observations(ep['image']).items():
        group[key] = value
      group['actions'] = ep['action'][1:]
      group['rewards'] = ep['reward'][1:].astype(np.float64)
      group['terminations'] = ep['is_terminal'][1:]
      group['truncations'] = (ep['is_last'] & ~ep['is_terminal'])[1:]
      group['infos/speed'] = np.zeros(len(ep['reward']))
  space = space or {
      'type': 'Box', 'dtype': 'float32', 'shape': [2], 'low': [-1, -1],
      'high': [1, 1]}
  (folder / 'metadata.json').write_text(json.dumps({
      'total_episodes': len(eps), 'data_format': 'hdf5',
      'total_steps': sum(len(ep['reward']) - 1 for ep in eps),
      'action_space': json.dumps(space), 'minari_version': '0.5.3',
      'dataset_id': 'walker-v0'}))
  return path


def encoded(images, form):
  """Images as bytes in rows, as Minari stores large ones."""
  rows = []
  for image in images:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format=form)
    rows.append(np.frombuffer(stream.getvalue(), np.uint8))
  array = np.empty(len(rows), h5py.vlen_dtype(np.uint8))
  array[:] = rows
  return array


def same(data, contents):
  """Whether a store holds the very same episodes."""
  assert len(data.episodes) == len(contents)
  for entry, expected in zip(data.episodes, contents, strict=True):
    assert not data.verify(entry)
    found = data.read(entry)
    assert set(found) == set(expected)
    for key, value in expected.items():
      assert found[key].dtype == value.dtype, key
      np.testing.assert_array_equal(found[key], value, key)
  return True
