import h5py
import numpy as np
import pytest

from dreamerv2_base import episodes, store
from tests.datasets import sources


def changed(**changes):
  ep = {**sources.content(), **changes}
  return {key: value for key, value in ep.items() if value is not None}


@pytest.mark.parametrize('changes, words', [
    ({'reward': None}, 'keys missing: reward'),
    ({'image': np.zeros((7, 8, 8, 3), np.float32)}, 'scale floats back'),
    ({'image': np.zeros((7, 8, 8), np.uint8)}, 'image is uint8 [7, 8, 8]'),
    ({'image': np.zeros((5, 8, 8, 3), np.uint8)}, 'differ in length'),
    ({'image': np.zeros((8, 8, 8, 3), np.uint8)}, 'differ in length'),
    ({'action': np.full((7, 2), 1.5) * (np.arange(7) > 0)[:, None]},
     'actions reach 1.5, must lie in [-1, 1]'),
    ({'action': np.zeros((7, 2), '<U1')}, 'action is <U1, must be numbers'),
    ({'success': np.full(7, 'x')}, 'success is <U1, must be numbers'),
    ({'reward': np.array([0, 1, 1, np.nan, 1, 1, 1])}, 'finite in row 3'),
    ({'reward': np.array(1.0)}, 'reward is a single value'),
    ({'is_first': np.arange(7) % 3 == 0}, 'is_first in row 3 of 7'),
    ({'is_last': np.arange(7) == 4}, 'is_last in row 4 of 7'),
    ({'is_terminal': np.arange(7) == 4}, 'is_terminal in row 4 of 7'),
    ({'is_last': np.zeros(4, bool)}, 'differ in length'),
    ({key: value[:1] for key, value in sources.content().items()},
     '1 rows, too few'),
    ({key: value[:0] for key, value in sources.content().items()},
     '0 rows, too few'),
    ({'image': np.zeros((7, 8, 8, 3), np.uint8), 'is_first': None},
     'rows are'),
])
def test_faulty_episodes(fails, run, source, contents, changes, words):
  for index, ep in enumerate(contents[:2]):
    sources.npz(source / f'{index}.npz', ep)
  sources.npz(source / '7.npz', changed(**changes))
  line = fails('--format', 'user')
  assert '7.npz' in line and words in line
  found = store.Store(source.parent / 'out')
  assert sources.same(found, contents[:2])
  assert not episodes.read_metadata(found.directory)['complete']
  data, output = run('--format', 'user', '--skip_faulty')
  assert sources.same(data, contents[:2])
  assert 'left out: ' in output and words in output
  assert episodes.read_metadata(data.directory)['complete']


def pickled(path):
  np.savez(path, **changed(reward=np.array([{}] * 7, object)))


def cut(path):
  sources.npz(path, sources.content())
  path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
  sources.npz(path, sources.content())
  content = bytearray(path.read_bytes())
  content[200] ^= 255
  path.write_bytes(content)


def text(path):
  path.write_text('hello')


@pytest.mark.parametrize('write', [pickled, cut, flipped, text])
def test_damaged_archives(fails, run, source, contents, write):
  sources.npz(source / '0.npz', contents[0])
  write(source / '1.npz')
  line = fails()
  assert f'{source / "1.npz"}: not a readable npz archive' in line
  data, output = run('--skip_faulty')
  assert sources.same(data, contents[:1]) and 'left out' in output


def test_damaged_hdf5(fails, source, contents):
  path = sources.vd4rl_hdf5(source / 'a.hdf5', contents)
  with h5py.File(path, 'a') as file:
    del file['reward']
  assert 'a.hdf5: keys missing: reward' in fails()
  path.write_bytes(path.read_bytes()[:1000])
  assert 'a.hdf5: not a readable hdf5 file' in fails()
  sources.vd4rl_hdf5(path, contents, 1, 4)
  assert 'no episode begins in it' in fails()


def test_minari_faults(fails, source, contents):
  path = sources.minari(source / 'a', contents, lambda x: {'state': x})
  assert 'observations hold no images' in fails(source=path)
  file = path / 'data' / 'main_data.hdf5'
  (path / 'data' / 'metadata.json').write_text('{}')
  assert 'no bounds of a Box action space' in fails(source=path)
  (path / 'data' / 'metadata.json').unlink()
  with h5py.File(file, 'a') as group:
    group['episode_0/observations'] = contents[0]['image']
    del group['episode_0/actions']
    group['episode_0/actions'] = np.zeros(4, np.int64)
  assert 'only continuous' in fails(source=path)


def test_nothing_to_import(fails, run, source, contents):
  assert 'No such file or directory' in fails(source=source / 'nowhere')
  assert 'no episodes found' in fails()
  (source / 'deep' / '64px').mkdir(parents=True)
  sources.npz(source / 'deep' / '64px' / '0.npz', contents[0])
  assert f'give the folder {source / "deep" / "64px"}' in fails()
  sources.npz(source / '0.npz', {'obs': contents[0]['image']})
  assert 'format unknown, keys missing: action, image, reward' in fails()
  sources.vd4rl_hdf5(source / 'a.hdf5', contents)
  assert 'npz and hdf5 files, give --format' in fails()
  run('--format', 'vd4rl_hdf5')
  out = source.parent / 'out'
  assert 'a dataset of this project already' in fails(source=out)


def test_all_episodes_faulty(fails, source):
  sources.npz(source / '0.npz', changed(is_last=np.ones(7, bool)))
  assert 'none of its episodes can be used' in fails('--skip_faulty')
  out = source.parent / 'out'
  assert not episodes.read_metadata(out)['complete']


def test_foreign_output_is_refused(fails, run, source, contents):
  sources.npz(source / '0.npz', contents[0])
  out = source.parent / 'out'
  out.mkdir()
  (out / 'notes.txt').write_text('mine')
  assert 'is not empty and has no metadata.json' in fails()
  (out / 'notes.txt').unlink()
  data, first = run()
  before = (out / store.INDEX).read_bytes()
  assert run()[1] == first
  assert (out / store.INDEX).read_bytes() == before
  line = fails('--size', '8')
  assert 'another dataset (size is None there and 8 here)' in line
  assert sources.same(data, contents[:1])
