import io
import json
import zipfile

import numpy as np
import pytest

from dreamerv2_base import episodes


def make_episode(rows=6, seed=0):
  rng = np.random.default_rng(seed)
  return {
      'image': rng.integers(0, 256, (rows, 8, 10, 3), np.uint8),
      'action': rng.uniform(-1, 1, (rows, 2)).astype(np.float32),
      'reward': rng.uniform(0, 1, rows).astype(np.float32),
      'is_first': np.arange(rows) == 0,
      'is_last': np.arange(rows) == rows - 1,
      'is_terminal': np.zeros(rows, bool),
  }


def write(directory, episode):
  path = directory / 'broken.npz'
  np.savez_compressed(path, **episode)
  return path


def test_round_trip_is_lossless(tmp_path):
  episode = make_episode()
  path = episodes.save_episode(tmp_path, episode)
  loaded = episodes.load_episode(path)
  assert set(loaded) == set(episode)
  for key, value in episode.items():
    assert loaded[key].dtype == value.dtype
    np.testing.assert_array_equal(loaded[key], value)


def test_name_counts_transitions_and_sorts_by_age(tmp_path):
  paths = [
      episodes.save_episode(tmp_path, make_episode(rows))
      for rows in (6, 3, 9, 2)]
  stamp, code, transitions = paths[0].stem.split('-')
  assert stamp[8] == 'T' and transitions == '5'
  assert len(code) == 32 and int(code, 16) >= 0
  assert episodes.find_episodes(tmp_path) == paths


def test_length_comes_from_the_arrays(tmp_path):
  path = episodes.save_episode(tmp_path, make_episode(6))
  renamed = path.rename(tmp_path / 'x-y-77.npz')
  assert len(episodes.load_episode(renamed)['reward']) == 6


def test_stored_steps(tmp_path):
  path = episodes.save_episode(tmp_path, make_episode(6))
  assert episodes.stored_steps(path.rename(tmp_path / 'x-y-77.npz')) == 5
  broken = write(tmp_path, {'action': np.zeros(3)})
  with pytest.raises(ValueError, match='broken.npz: keys missing: reward'):
    episodes.stored_steps(broken)
  broken.write_bytes(b'half')
  with pytest.raises(ValueError, match='broken.npz: not a readable npz'):
    episodes.stored_steps(broken)


def test_only_log_keys_are_kept_besides_the_known(tmp_path):
  extra = {'log_speed': np.arange(6), 'discount': np.ones(6)}
  path = write(tmp_path, {**make_episode(), **extra})
  loaded = episodes.load_episode(path)
  assert set(loaded) == {*episodes.KEYS, 'log_speed'}
  saved = episodes.save_episode(tmp_path, {**make_episode(), **extra})
  assert set(np.load(saved).files) == {*episodes.KEYS, 'log_speed'}


@pytest.mark.parametrize('changes, words', [
    ({'reward': None}, 'keys missing: reward'),
    ({'image': np.zeros((6, 8, 10, 3), np.float32)}, 'scale floats back'),
    ({'image': np.zeros((6, 3, 8, 10), np.uint8)}, 'channels first'),
    ({'image': np.zeros((6, 3, 8, 10), np.float32)}, 'channels first'),
    ({'image': np.zeros((6, 8, 10), np.uint8)}, 'image is uint8 [6, 8, 10]'),
    ({'action': np.zeros((6, 2))}, 'action is float64 [6, 2], must be'),
    ({'action': np.zeros(6, np.float32)}, 'rank 2'),
    ({'is_last': np.zeros(6, np.int64)}, 'is_last is int64'),
    ({'is_last': np.zeros(5, bool)}, 'differ in length'),
    ({'log_speed': np.zeros(5)}, 'differ in length'),
    ({'log_speed': np.array(1.0)}, 'log_speed must be'),
    ({'log_name': np.array(['a'] * 6)}, 'log_name must be'),
    ({'reward': np.array([0, 1, np.nan, 1, 1, 1], np.float32)}, 'row 2'),
    ({'action': np.full((6, 2), np.inf, np.float32)}, 'not finite in row 0'),
    ({'is_first': np.zeros(6, bool)}, 'is_first is false in row 0'),
])
def test_malformed_episodes_are_named(tmp_path, changes, words):
  episode = {**make_episode(), **changes}
  episode = {k: v for k, v in episode.items() if v is not None}
  path = write(tmp_path, episode)
  with pytest.raises(ValueError) as info:
    episodes.load_episode(path)
  assert str(info.value).startswith(f'{path}: ')
  assert words in str(info.value)
  assert '\n' not in str(info.value)
  path.unlink()
  with pytest.raises(ValueError):
    episodes.save_episode(tmp_path, episode)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('rows', [0, 1])
def test_too_few_rows(tmp_path, rows):
  path = write(tmp_path, make_episode(rows))
  with pytest.raises(ValueError, match=f'{rows} rows, an episode has'):
    episodes.load_episode(path)


def damaged_files():
  stream = io.BytesIO()
  np.savez_compressed(stream, **make_episode())
  whole = stream.getvalue()
  flipped = bytearray(whole)
  flipped[200] ^= 255
  array = io.BytesIO()
  np.save(array, np.zeros(3))
  objects = io.BytesIO()
  np.savez(objects, **{**make_episode(), 'reward': np.array([{}] * 6)})
  renamed = io.BytesIO()
  with zipfile.ZipFile(renamed, 'w') as archive:
    for key in episodes.KEYS:
      archive.writestr(f'{key}.npy', b'no array')
  return {
      'empty': b'', 'text': b'hello', 'truncated': whole[:-100],
      'half': whole[:len(whole) // 2], 'flipped': bytes(flipped),
      'array': array.getvalue(), 'objects': objects.getvalue(),
      'foreign': renamed.getvalue()}


@pytest.mark.parametrize('name, content', damaged_files().items())
def test_damaged_files_are_named(tmp_path, name, content):
  path = tmp_path / f'{name}.npz'
  path.write_bytes(content)
  with pytest.raises(ValueError) as info:
    episodes.load_episode(path)
  assert str(info.value).startswith(f'{path}: ')
  assert '\n' not in str(info.value)


def test_find_ignores_unfinished_files(tmp_path):
  path = episodes.save_episode(tmp_path, make_episode())
  (tmp_path / f'{path.name}.tmp').write_bytes(b'half')
  assert episodes.find_episodes(tmp_path) == [path]


def test_missing_directory(tmp_path):
  with pytest.raises(FileNotFoundError, match='nowhere'):
    episodes.find_episodes(tmp_path / 'nowhere')


def test_failed_write_leaves_the_old_file(tmp_path):
  episodes.write_metadata(tmp_path, {'task': 'a'})
  with pytest.raises(TypeError):
    episodes.write_metadata(tmp_path, {'task': object()})
  assert episodes.read_metadata(tmp_path) == {'task': 'a'}
  assert [path.name for path in tmp_path.iterdir()] == ['metadata.json']


def test_metadata_errors(tmp_path):
  with pytest.raises(FileNotFoundError, match='No metadata.json in'):
    episodes.read_metadata(tmp_path)
  path = tmp_path / 'metadata.json'
  for content in ('{"task": ', '', json.dumps([1])):
    path.write_text(content)
    with pytest.raises(ValueError, match='JSON') as info:
      episodes.read_metadata(tmp_path)
    assert str(info.value).startswith(f'{path}: ')
    assert '\n' not in str(info.value)


def test_returns():
  episode = {'reward': np.array([0, 1, 2.5], np.float32)}
  assert episodes.episode_return(episode) == 3.5
  assert episodes.return_statistics([1, 2, 3, 4, 10]) == pytest.approx({
      'mean': 4, 'std': np.sqrt(12.5), 'stderr': np.sqrt(2.5), 'min': 1,
      'q25': 2, 'median': 3, 'q75': 4, 'max': 10})
  one = episodes.return_statistics([5])
  assert one == {
      'std': 0, 'stderr': 0, **dict.fromkeys(set(one) - {'std', 'stderr'}, 5)}
