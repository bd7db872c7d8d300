import json

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


def test_only_log_keys_are_kept_besides_the_known():
  extra = {'log_speed': np.arange(6), 'discount': np.ones(6)}
  kept = episodes.checked({**make_episode(), **extra})
  assert set(kept) == {*episodes.KEYS, 'log_speed'}


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
def test_malformed_episodes_are_named(changes, words):
  episode = {**make_episode(), **changes}
  episode = {k: v for k, v in episode.items() if v is not None}
  with pytest.raises(ValueError) as info:
    episodes.checked(episode, 'x.npz')
  assert str(info.value).startswith('x.npz: ')
  assert words in str(info.value)
  assert '\n' not in str(info.value)


@pytest.mark.parametrize('rows', [0, 1])
def test_too_few_rows(rows):
  with pytest.raises(ValueError, match=f'{rows} rows, an episode has'):
    episodes.checked(make_episode(rows))


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
