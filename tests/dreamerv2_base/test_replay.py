import itertools
import logging

import numpy as np
import pytest

from dreamerv2_base import episodes, replay


def make_episode(rows, label=0, size=8, actions=2):
  """An episode whose rewards are its row numbers and actions its label."""
  return {
      'image': np.full((rows, size, size, 3), label, np.uint8),
      'action': np.full((rows, actions), label, np.float32),
      'reward': np.arange(rows, dtype=np.float32),
      'is_first': np.arange(rows) == 0,
      'is_last': np.arange(rows) == rows - 1,
      'is_terminal': np.zeros(rows, bool),
      'log_speed': np.ones(rows),
  }


def draw(store, count, length, seed=0):
  """Labels and starts of many samples."""
  sample = store.sample(count, length, np.random.default_rng(seed))
  return (
      sample['action'][:, 0, 0].astype(int),
      sample['reward'][:, 0].astype(int))


def chi_square(counts, shares):
  expected = np.sum(counts) * np.array(shares) / np.sum(shares)
  return np.sum((counts - expected) ** 2 / expected)


def test_samples_are_consecutive_rows_of_one_episode(tmp_path):
  store = replay.Replay(tmp_path)
  for label, rows in enumerate([5, 9, 30]):
    store.append(make_episode(rows, label))
  sample = store.sample(64, 5, np.random.default_rng(0))
  assert set(sample) == set(episodes.KEYS)
  assert sample['image'].shape == (64, 5, 8, 8, 3)
  for key, (dtype, rank) in episodes.KEYS.items():
    assert sample[key].shape[:2] == (64, 5)
    assert sample[key].dtype == dtype
    assert sample[key].ndim == rank + 1
  assert (np.diff(sample['reward'], axis=1) == 1).all()
  assert (sample['action'] == sample['action'][:, :1]).all()
  assert (sample['image'][..., 0, 0, 0] == sample['action'][..., 0]).all()
  lengths = np.array([5, 9, 30])[sample['action'][:, 0, 0].astype(int)]
  last = sample['reward'] == lengths[:, None] - 1
  np.testing.assert_array_equal(sample['is_last'], last)


def test_each_sample_begins_with_is_first_without_marking_the_store(tmp_path):
  store = replay.Replay(tmp_path)
  store.append(make_episode(20))
  for seed in range(20):
    sample = store.sample(8, 4, np.random.default_rng(seed))
    assert sample['is_first'][:, 0].all()
    assert not sample['is_first'][:, 1:].any()


def test_episodes_and_starts_are_uniform(tmp_path):
  store = replay.Replay(tmp_path)
  for label, rows in enumerate([12, 7, 3]):
    store.append(make_episode(rows, label))
  labels, starts = draw(store, 20000, 4)
  counts = np.bincount(labels, minlength=3)
  assert counts[2] == 0
  assert chi_square(counts[:2], [1, 1]) < 10.8  # p = 0.001, 1 degree.
  counts = np.bincount(starts[labels == 0], minlength=9)
  assert chi_square(counts, np.ones(9)) < 26.1  # p = 0.001, 8 degrees.
  counts = np.bincount(starts[labels == 1], minlength=4)
  assert chi_square(counts, np.ones(4)) < 16.3  # p = 0.001, 3 degrees.


def test_prioritized_ends(tmp_path):
  store = replay.Replay(tmp_path, prioritize_ends=True)
  store.append(make_episode(12))
  _, starts = draw(store, 20000, 4)
  counts = np.bincount(starts, minlength=9)
  assert len(counts) == 9
  # The last of 9 starts also takes the 4 beyond the end.
  assert chi_square(counts, [1] * 8 + [5]) < 26.1
  covered = np.zeros(12)
  for offset in range(4):
    covered += np.bincount(starts + offset, minlength=12)
  assert covered[-1] > covered[4:8].mean()


def test_too_short_episodes(tmp_path):
  store = replay.Replay(tmp_path)
  with pytest.raises(ValueError, match='0 episodes'):
    draw(store, 1, 2)
  store.append(make_episode(3))
  store.append(make_episode(6))
  assert draw(store, 4, 6)[1].tolist() == [0] * 4
  with pytest.raises(ValueError) as info:
    draw(store, 1, 7)
  assert str(tmp_path) in str(info.value)
  assert 'no episode of 7 rows' in str(info.value)
  assert 'the longest has 6 rows' in str(info.value)


def test_reopened_store_draws_the_same(tmp_path):
  store = replay.Replay(tmp_path)
  for label in range(10):
    store.append(make_episode(10 + label, label))
  again = replay.Replay(tmp_path)
  np.testing.assert_array_equal(draw(store, 100, 5), draw(again, 100, 5))
  assert store.stats == again.stats


@pytest.mark.parametrize('capacity, kept', [
    (0, [0, 1, 2, 3, 4]), (1000, [0, 1, 2, 3, 4]), (20, [3, 4]),
    (29, [3, 4]), (30, [2, 3, 4]), (4, [4])])
def test_capacity_bounds_memory_and_keeps_files(tmp_path, capacity, kept):
  store = replay.Replay(tmp_path, capacity)
  paths = [store.append(make_episode(11, label)) for label in range(5)]
  for one in (store, replay.Replay(tmp_path, capacity)):
    assert set(draw(one, 200, 5)[0]) == set(kept)
    assert one.stats['steps'] == one.steps == 10 * len(kept)
    assert one.total_steps == 50
  assert episodes.find_episodes(tmp_path) == paths


def test_slow_loading_is_reported(tmp_path, monkeypatch, caplog):
  store = replay.Replay(tmp_path)
  store.append(make_episode(11))
  clock = itertools.count(step=3)
  log = logging.getLogger('dreamerv2_base')
  monkeypatch.setattr(log, 'propagate', True)
  monkeypatch.setattr(replay.time, 'time', lambda: next(clock))
  with caplog.at_level(logging.INFO, log.name):
    replay.Replay(tmp_path)
  assert caplog.messages == [f'Loaded 1 episodes, 10 steps, from {tmp_path}']


def test_statistics(tmp_path):
  store = replay.Replay(tmp_path)
  assert store.stats == {'episodes': 0, 'steps': 0}
  store.append(make_episode(3))  # Return 3.
  store.append(make_episode(5))  # Return 10.
  stats = store.stats
  assert (stats['episodes'], stats['steps']) == (2, 6)
  assert stats['return_mean'] == 6.5
  assert (stats['return_min'], stats['return_max']) == (3, 10)
  assert all(isinstance(value, (int, float)) for value in stats.values())


@pytest.mark.parametrize('change, words', [
    ({'size': 16}, 'image rows have shape [16, 16, 3]'),
    ({'actions': 3}, 'action rows have shape [3]')])
def test_shapes_must_agree(tmp_path, change, words):
  store = replay.Replay(tmp_path)
  store.append(make_episode(5))
  with pytest.raises(ValueError) as info:
    store.append(make_episode(5, **change))
  assert words in str(info.value)
  assert len(episodes.find_episodes(tmp_path)) == 1
  old = episodes.save_episode(tmp_path, make_episode(5, **change))
  old = old.rename(tmp_path / '0.npz')
  with pytest.raises(ValueError) as info:
    replay.Replay(tmp_path)
  assert str(info.value).startswith(f'{old}: {words}')


def test_unreadable_directories(tmp_path):
  with pytest.raises(FileNotFoundError, match='nowhere'):
    replay.Replay(tmp_path / 'nowhere')
  (tmp_path / 'bad.npz').write_bytes(b'not an archive')
  with pytest.raises(ValueError, match='bad.npz'):
    replay.Replay(tmp_path)


@pytest.mark.parametrize('prefetch', [0, 2])
def test_dataset_continues_its_stream(tmp_path, prefetch):
  store = replay.Replay(tmp_path)
  for label in range(3):
    store.append(make_episode(40, label))
  whole = store.dataset(4, 6, seed=5, prefetch=prefetch)
  whole = list(whole.take(8).as_numpy_iterator())
  rest = store.dataset(4, 6, seed=5, start=5, prefetch=prefetch)
  rest = list(rest.take(3).as_numpy_iterator())
  for index, batch in enumerate(whole):
    expected = store.sample(4, 6, np.random.default_rng([5, index]))
    for key, value in expected.items():
      assert batch[key].dtype == value.dtype
      np.testing.assert_array_equal(batch[key], value)
      if index >= 5:
        np.testing.assert_array_equal(rest[index - 5][key], value)


def test_dataset_without_prefetch_sees_each_append(tmp_path):
  store = replay.Replay(tmp_path)
  store.append(make_episode(10, 1))
  batches = iter(store.dataset(32, 5, seed=0))
  for newest in range(2, 12):
    assert np.max(next(batches)['action']) <= newest - 1
    store.append(make_episode(10, newest))
    expected = store.sample(32, 5, np.random.default_rng([0, 2 * newest - 3]))
    np.testing.assert_array_equal(next(batches)['action'], expected['action'])


def test_dataset_has_static_shapes_and_checks_the_length_at_once(tmp_path):
  store = replay.Replay(tmp_path)
  store.append(make_episode(10))
  spec = store.dataset(3, 4, seed=0).element_spec
  assert spec['image'].shape == (3, 4, 8, 8, 3)
  assert spec['is_first'].shape == (3, 4)
  with pytest.raises(ValueError, match='no episode of 11 rows'):
    store.dataset(3, 11, seed=0)
