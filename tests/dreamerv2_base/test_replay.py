import numpy as np
import pytest

from dreamerv2_base import episodes, replay, store


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


def draw(data, count, length, seed=0):
  """Labels and starts of many samples."""
  sample = data.sample(count, length, np.random.default_rng(seed))
  return (
      sample['action'][:, 0, 0].astype(int),
      sample['reward'][:, 0].astype(int))


def chi_square(counts, shares):
  expected = np.sum(counts) * np.array(shares) / np.sum(shares)
  return np.sum((counts - expected) ** 2 / expected)


def test_samples_are_consecutive_rows_of_one_episode(tmp_path):
  data = replay.Replay(tmp_path, writable=True)
  for label, rows in enumerate([5, 9, 30]):
    data.append(make_episode(rows, label))
  sample = data.sample(64, 5, np.random.default_rng(0))
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
  data = replay.Replay(tmp_path, writable=True)
  data.append(make_episode(20))
  for seed in range(20):
    sample = data.sample(8, 4, np.random.default_rng(seed))
    assert sample['is_first'][:, 0].all()
    assert not sample['is_first'][:, 1:].any()


def test_episodes_and_starts_are_uniform(tmp_path):
  data = replay.Replay(tmp_path, writable=True)
  for label, rows in enumerate([12, 7, 3]):
    data.append(make_episode(rows, label))
  labels, starts = draw(data, 20000, 4)
  counts = np.bincount(labels, minlength=3)
  assert counts[2] == 0
  assert chi_square(counts[:2], [1, 1]) < 10.8  # p = 0.001, 1 degree.
  counts = np.bincount(starts[labels == 0], minlength=9)
  assert chi_square(counts, np.ones(9)) < 26.1  # p = 0.001, 8 degrees.
  counts = np.bincount(starts[labels == 1], minlength=4)
  assert chi_square(counts, np.ones(4)) < 16.3  # p = 0.001, 3 degrees.


def test_prioritized_ends(tmp_path):
  data = replay.Replay(
      tmp_path, prioritize_ends=True, writable=True)
  data.append(make_episode(12))
  _, starts = draw(data, 20000, 4)
  counts = np.bincount(starts, minlength=9)
  assert len(counts) == 9
  # The last of 9 starts also takes the 4 beyond the end.
  assert chi_square(counts, [1] * 8 + [5]) < 26.1
  covered = np.zeros(12)
  for offset in range(4):
    covered += np.bincount(starts + offset, minlength=12)
  assert covered[-1] > covered[4:8].mean()


def test_too_short_episodes(tmp_path):
  data = replay.Replay(tmp_path, writable=True)
  with pytest.raises(ValueError, match='0 episodes'):
    draw(data, 1, 2)
  data.append(make_episode(3))
  data.append(make_episode(6))
  assert draw(data, 4, 6)[1].tolist() == [0] * 4
  with pytest.raises(ValueError) as info:
    draw(data, 1, 7)
  assert str(tmp_path) in str(info.value)
  assert 'no episode of 7 rows' in str(info.value)
  assert 'the longest has 6 rows' in str(info.value)


def test_reopened_store_draws_the_same(tmp_path):
  data = replay.Replay(tmp_path, writable=True)
  for label in range(10):
    data.append(make_episode(10 + label, label))
  again = replay.Replay(tmp_path)
  np.testing.assert_array_equal(draw(data, 100, 5), draw(again, 100, 5))
  assert data.stats == again.stats


@pytest.mark.parametrize('capacity, kept', [
    (0, [0, 1, 2, 3, 4]), (1000, [0, 1, 2, 3, 4]), (20, [3, 4]),
    (29, [3, 4]), (30, [2, 3, 4]), (4, [4])])
def test_capacity_bounds_what_is_sampled(tmp_path, capacity, kept):
  data = replay.Replay(tmp_path, capacity, writable=True)
  for label in range(5):
    data.append(make_episode(11, label))
  for one in (data, replay.Replay(tmp_path, capacity)):
    assert set(draw(one, 200, 5)[0]) == set(kept)
    assert one.stats['steps'] == one.steps == 10 * len(kept)
    assert one.stats['episodes'] == len(kept)
    assert one.total_steps == 50


def test_shards_beyond_the_capacity_are_deleted(tmp_path, monkeypatch):
  # Two episodes in each shard.
  monkeypatch.setattr(store, 'SHARD_BYTES', 22 * 8 * 8 * 3)
  data = replay.Replay(tmp_path, 20, writable=True)
  # An episode beyond the capacity stays as long as the other of its shard.
  for label, shards in enumerate([1, 1, 2, 1, 2, 1]):
    data.append(make_episode(11, label))
    data.drop_before(label)  # At most what is within the capacity.
    assert len(list(tmp_path.glob('shard-*'))) == shards
    assert set(draw(data, 100, 5)[0]) == {max(0, label - 1), label}
    assert data.total_steps == 10 * (label + 1)
  data.close()
  (tmp_path / 'shard-00001').mkdir()  # As if killed before it was deleted.
  data = replay.Replay(tmp_path, 20, writable=True)
  assert [path.name for path in tmp_path.glob('shard-*')] == ['shard-00002']
  assert data.total_steps == 60 and data.steps == 20
  assert set(draw(data, 100, 5)[0]) == {4, 5}
  data.append(make_episode(11, 6))
  assert set(draw(data, 100, 5)[0]) == {5, 6}


def test_nothing_is_deleted_by_readers_or_without_a_capacity(
    tmp_path, monkeypatch):
  monkeypatch.setattr(store, 'SHARD_BYTES', 1)
  data = replay.Replay(tmp_path, writable=True)
  for label in range(3):
    data.append(make_episode(11, label))
  assert set(draw(replay.Replay(tmp_path, 10), 20, 5)[0]) == {2}
  assert len(list(tmp_path.glob('shard-*'))) == 3
  assert 'first_shard' not in (tmp_path / store.INDEX).read_text()
  assert set(draw(data, 100, 5)[0]) == {0, 1, 2}


def test_what_a_checkpoint_knows_is_drawn_again(tmp_path, monkeypatch):
  monkeypatch.setattr(store, 'SHARD_BYTES', 22 * 8 * 8 * 3)
  data = replay.Replay(tmp_path, 20, writable=True)
  for label in range(5):
    data.append(make_episode(11, label))
  expected, first = draw(data, 100, 5), data.first_shard
  index = (tmp_path / store.INDEX).read_bytes()
  for attempt in range(2):
    for label in range(5, 9):
      data.append(make_episode(11, label + 10 * attempt))
      data.drop_before(first)
    data.cut(5)
    assert data.total_episodes == 5 and data.total_steps == 50
    np.testing.assert_array_equal(draw(data, 100, 5), expected)
  data.close()
  data = replay.Replay(tmp_path, 20, writable=True)
  np.testing.assert_array_equal(draw(data, 100, 5), expected)
  assert (tmp_path / store.INDEX).read_bytes().startswith(index)
  data.append(make_episode(11, 7))
  assert data.total_episodes == 6 and set(draw(data, 100, 5)[0]) == {4, 7}


def test_statistics(tmp_path):
  data = replay.Replay(tmp_path, writable=True)
  assert data.stats == {'episodes': 0, 'steps': 0}
  data.append(make_episode(3))  # Return 3.
  data.append(make_episode(5))  # Return 10.
  stats = data.stats
  assert (stats['episodes'], stats['steps']) == (2, 6)
  assert stats['return_mean'] == 6.5
  assert (stats['return_min'], stats['return_max']) == (3, 10)
  assert all(isinstance(value, (int, float)) for value in stats.values())


@pytest.mark.parametrize('size', [1, 4, 11, 15, 27, 40])
def test_rows_are_numbered_through_all_episodes(tmp_path, size):
  data = replay.Replay(tmp_path, 25, writable=True)
  for label, rows in enumerate([20, 5, 11, 11]):
    data.append(make_episode(rows, label))
  chunks = list(data.images(size))
  assert data.rows == 27
  assert [len(x) for x in chunks[:-1]] == [size] * (len(chunks) - 1)
  images = np.concatenate(chunks)
  labels = images[:, 0, 0, 0]
  assert labels.tolist() == [1] * 5 + [2] * 11 + [3] * 11
  beside = lambda starts, length: {
      'row': starts[:, None] + np.arange(length), 'length': length}
  sample = data.sample(50, 5, np.random.default_rng(0), beside)
  assert sample.pop('length') == 5
  rows = np.concatenate([np.arange(n) for n in (5, 11, 11)])[sample['row']]
  np.testing.assert_array_equal(rows, sample['reward'])
  np.testing.assert_array_equal(
      labels[sample.pop('row')], sample['action'][..., 0])
  plain = data.sample(50, 5, np.random.default_rng(0))
  assert set(plain) == set(sample)
  for key, value in plain.items():
    np.testing.assert_array_equal(value, sample[key])


def test_unreadable_directories(tmp_path):
  with pytest.raises(FileNotFoundError, match='nowhere'):
    replay.Replay(tmp_path / 'nowhere')
  data = replay.Replay(tmp_path, writable=True)
  data.append(make_episode(5))
  path = tmp_path / 'shard-00000' / 'image.bin'
  path.write_bytes(path.read_bytes()[:-1])
  for writable in (False, True):
    data.close()
    with pytest.raises(ValueError) as info:
      replay.Replay(tmp_path, writable=writable)
    assert str(info.value) == (
        f'{path}: truncated, 959 bytes of 960 in index.jsonl')
  # What is cut while it is in use is not sampled either.
  with pytest.raises(ValueError, match='image.bin: truncated, rows of episo'):
    draw(data, 1, 5)


@pytest.mark.parametrize('prefetch', [0, 2])
def test_dataset_continues_its_stream(tmp_path, prefetch):
  data = replay.Replay(tmp_path, writable=True)
  for label in range(3):
    data.append(make_episode(40, label))
  whole = data.dataset(4, 6, seed=5, prefetch=prefetch)
  whole = list(whole.take(8).as_numpy_iterator())
  rest = data.dataset(4, 6, seed=5, start=5, prefetch=prefetch)
  rest = list(rest.take(3).as_numpy_iterator())
  for index, batch in enumerate(whole):
    expected = data.sample(4, 6, np.random.default_rng([5, index]))
    for key, value in expected.items():
      assert batch[key].dtype == value.dtype
      np.testing.assert_array_equal(batch[key], value)
      if index >= 5:
        np.testing.assert_array_equal(rest[index - 5][key], value)


def test_dataset_without_prefetch_sees_each_append(tmp_path):
  data = replay.Replay(tmp_path, writable=True)
  data.append(make_episode(10, 1))
  batches = iter(data.dataset(32, 5, seed=0))
  for newest in range(2, 12):
    assert np.max(next(batches)['action']) <= newest - 1
    data.append(make_episode(10, newest))
    expected = data.sample(32, 5, np.random.default_rng([0, 2 * newest - 3]))
    np.testing.assert_array_equal(next(batches)['action'], expected['action'])


def test_dataset_has_static_shapes_and_checks_the_length_at_once(tmp_path):
  data = replay.Replay(tmp_path, writable=True)
  data.append(make_episode(10))
  spec = data.dataset(3, 4, seed=0).element_spec
  assert spec['image'].shape == (3, 4, 8, 8, 3)
  assert spec['is_first'].shape == (3, 4)
  with pytest.raises(ValueError, match='no episode of 11 rows'):
    data.dataset(3, 11, seed=0)
