"""Stores whose episode n is made with seed n."""

import numpy as np

from dreamerv2_base import store


def make_episode(seed, rows=0, **others):
  rng = np.random.default_rng(seed)
  rows = rows or 2 + seed % 20
  return {
      'image': rng.integers(0, 256, (rows, 8, 8, 3), np.uint8),
      'action': rng.uniform(-1, 1, (rows, 2)).astype(np.float32),
      'reward': rng.uniform(0, 1, rows).astype(np.float32),
      'is_first': np.arange(rows) == 0,
      'is_last': np.arange(rows) == rows - 1,
      'is_terminal': np.zeros(rows, bool), **others}


def same(found, expected):
  assert set(found) == set(expected)
  for key, rows in expected.items():
    assert found[key].dtype == rows.dtype
    np.testing.assert_array_equal(found[key], rows)


def check(directory):
  """Reads everything; episode n was made with seed n."""
  data = store.Store(directory)
  data.check_files()
  for index, entry in enumerate(data.episodes):
    assert entry['id'] == index
    assert data.verify(entry) == []
    same(data.read(entry), make_episode(index))
  return len(data.episodes)


def fill(directory, count=3):
  with store.Writer(directory) as data:
    for seed in range(count):
      data.append(make_episode(seed, 10 + seed))
