import io
import zipfile

import h5py
import hypothesis
import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies as st

from coworld_tf.datasets import importers
from tests.datasets import sources
from tests.fuzz import hostile, sandbox

CONTENT = sources.content(rows=6, size=8)
DTYPES = ['u1', 'f2', 'f4', '>f8', 'i8', '?', 'c8', 'U3', 'S3', 'O', 'V4',
          'M8[s]', [('a', 'f4')]]
KEYS = [*CONTENT, 'discount', 'logprob', 'success', 'log_x', 'log_../../mine',
        'x', '', 'observation', 'step_type']
SHAPES = ['(6,)', '(6, 2)', '(10**12,)', '(2**62, 2**62)', '(-1,)', '()',
          '(6, 8, 8, 3)', '(True,)', '("a",)', '6', '(' * 300]


def bring(folder, *flags):
  """Imports what a folder holds."""
  status = importers.main(
      [str(folder / 'data'), '--out', str(folder / 'out'), *flags])
  assert status == 0


def npz(arrays):
  """The bytes of an archive by NumPy, which pickles objects."""
  stream = io.BytesIO()
  np.savez(stream, **arrays)
  return stream.getvalue()


@st.composite
def arrays(draw):
  """An array of any type and shape."""
  kind = draw(st.sampled_from(DTYPES))
  shape = draw(st.lists(st.integers(0, 8), max_size=4))
  array = np.zeros(shape, kind)
  if array.size and array.dtype.kind == 'f':
    array.flat[0] = draw(st.sampled_from([0, 1, 2, np.nan, np.inf, 200]))
  return array


@st.composite
def archives(draw):
  """An npz file with other arrays, missing ones and lying headers."""
  content = dict(CONTENT)
  for _ in range(draw(st.integers(1, 3))):
    key = draw(st.sampled_from(KEYS))
    match draw(st.sampled_from('adn')):
      case 'a':
        content[key] = draw(arrays())
      case 'd':
        content.pop(key, None)
      case 'n':
        content[key] = np.full(6, draw(st.sampled_from([np.nan, 1, 300])))
  data = npz(content)
  if draw(st.booleans()):
    return data
  stream = io.BytesIO(data)
  with zipfile.ZipFile(stream, 'a') as archive:
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=2)):
      archive.writestr(f'{key}.npy', draw(headers()))
  return stream.getvalue()


@st.composite
def headers(draw):
  """A npy file whose header says anything."""
  kind = draw(st.sampled_from(
      ['|u1', '<f4', '|O', 'x', '<f99', '|V2147483647']))
  header = "{{'descr': '{}', 'fortran_order': {}, 'shape': {}}}\n".format(
      kind, draw(st.sampled_from(['False', 'True', '3'])),
      draw(st.sampled_from(SHAPES))).encode()
  size = draw(st.sampled_from([len(header), 0, 65535]))
  return (b'\x93NUMPY' + draw(st.sampled_from([b'\1\0', b'\3\0', b'\7\7']))
          + size.to_bytes(2, 'little') + header + b'cos\nsystem\n(S"id"\ntR.')


@pytest.mark.filterwarnings('ignore:Duplicate name')
@hypothesis.given(
    archives() | hostile.damaged(st.just(npz(CONTENT)))
    | hostile.damaged(archives()) | st.binary(max_size=100))
def test_archives(content):
  with sandbox.folder() as folder:
    (folder / 'data').mkdir()
    (folder / 'data' / '0.npz').write_bytes(content)
    flags = ['--size', '4'] if len(content) % 2 else ['--skip_faulty']
    sandbox.outcome(lambda: bring(folder, *flags), folder, 'out')


def hdf5(kind):
  """The bytes of an hdf5 file of V-D4RL or Minari."""
  with sandbox.folder() as folder:
    if kind == 'vd4rl':
      path = sources.vd4rl_hdf5(folder / 'a.hdf5', [CONTENT])
    else:
      path = sources.minari(folder / 'a', [CONTENT], lambda images: {
          'observations': images}) / 'data' / 'main_data.hdf5'
    return path.read_bytes()


@pytest.mark.parametrize('kind', ['vd4rl', 'minari'])
@hypothesis.given(data=st.data())
def test_hdf5(kind, data):
  keys = {'vd4rl': ['observation', 'action', 'step_type', 'reward'],
          'minari': ['observations', 'actions', 'rewards', 'terminations']}
  with sandbox.folder() as folder:
    (folder / 'data').mkdir()
    path = folder / 'data' / 'a.hdf5'
    path.write_bytes(hdf5(kind))
    with h5py.File(path, 'a') as file:
      group = file['episode_0'] if kind == 'minari' else file
      key = data.draw(st.sampled_from(keys[kind]))
      del group[key]
      spoil(group, key, folder, data.draw)
    sandbox.outcome(lambda: bring(folder), folder, 'out')


def spoil(group, key, folder, draw):
  """Puts something into the place of an array."""
  match draw(st.integers(0, 8)):
    case 0:
      array = draw(arrays())
      if array.dtype.kind not in 'UOM':
        group[key] = array
    case 1:
      group.create_group(key)
    case 2:
      group[key] = h5py.SoftLink(draw(st.sampled_from(['/x', key, '/', '.'])))
    case 3:
      group[key] = h5py.ExternalLink(
          str(folder / 'mine' / 'precious'), draw(st.sampled_from('/x')))
    case 4:
      with h5py.File(folder / 'mine' / 'other.hdf5', 'w') as file:
        file['x'] = np.zeros((6, 8, 8, 3), np.uint8)
      group[key] = h5py.ExternalLink(
          str(folder / 'mine' / 'other.hdf5'), 'x')
    case 5:
      group.create_dataset(key, (10 ** draw(st.integers(1, 15)),), 'u1')
    case 6:
      group.create_dataset(
          key, (6, 2 ** 14, 2 ** 14, 3), 'u1', chunks=(1, 2 ** 14, 2 ** 14, 3))
    case 7:
      group.create_dataset(key, (20,), 'u1', external=[
          (str(folder / 'mine' / 'precious'), 0, 20)])
    case 8:
      layout = h5py.VirtualLayout((6,), 'f4')
      layout[:] = h5py.VirtualSource(
          str(folder / 'mine' / 'x.hdf5'), 'x', (6,))
      group.create_virtual_dataset(key, layout)


@hypothesis.given(st.sampled_from(['vd4rl', 'minari']), st.data())
def test_damaged_hdf5(kind, data):
  with sandbox.folder() as folder:
    (folder / 'data').mkdir()
    (folder / 'data' / 'a.hdf5').write_bytes(
        data.draw(hostile.damaged(st.just(HDF5[kind]))))
    sandbox.outcome(
        lambda: bring(folder, '--format', {
            'vd4rl': 'vd4rl_hdf5'}.get(kind, kind)), folder, 'out')


HDF5 = {kind: hdf5(kind) for kind in ('vd4rl', 'minari')}


def image(form, size):
  """The bytes of an encoded image."""
  stream = io.BytesIO()
  PIL.Image.new('RGB', size).save(stream, form)
  return np.frombuffer(stream.getvalue(), np.uint8)


@pytest.mark.parametrize('rows', [
    [image('PNG', (8, 8))] * 5 + [image('PNG', (4, 8))],
    [image('PNG', (20000, 20000))] * 6, [image('PNG', (9000, 9000))] * 6,
    [image('EPS', (8, 8))] * 6, [image('GIF', (8, 8))] * 6,
    [np.zeros(0, np.uint8)] * 6, [image('JPEG', (8, 8))[:-30]] * 6])
def test_encoded_images(rows):
  with sandbox.folder() as folder:
    stored = np.empty(len(rows), object)
    stored[:] = rows
    (folder / 'data').mkdir()
    path = folder / 'data' / 'a.hdf5'
    path.write_bytes(HDF5['minari'])
    with h5py.File(path, 'a') as file:
      del file['episode_0/observations']
      file['episode_0'].create_dataset(
          'observations', data=stored, dtype=h5py.vlen_dtype(np.uint8))
    assert sandbox.outcome(lambda: bring(folder), folder, 'out')


def test_bombs_are_not_unpacked():
  with sandbox.folder() as folder:
    (folder / 'data').mkdir()
    path = folder / 'data' / '0.npz'
    with zipfile.ZipFile(
        path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
      for key, array in CONTENT.items():
        archive.writestr(f'{key}.npy', sources.npy(array))
      with archive.open('log_x.npy', 'w', force_zip64=True) as part:
        part.write(sources.npy(np.zeros(0))[:-80])
        for _ in range(1100):
          part.write(bytes(2 ** 20))
    assert path.stat().st_size < 10 ** 7
    line = sandbox.outcome(lambda: bring(folder), folder, 'out')
    assert '0.npz' in line and 'the most is' in line
