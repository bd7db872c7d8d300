"""The synthetic dataset is what its index says."""

import numpy as np
import pytest

from benchmarks import replay as benchmark
from dreamerv2_base import replay, store


def test_linked_shards_are_read(tmp_path, monkeypatch):
  monkeypatch.setattr(benchmark, 'ROWS', 60)
  monkeypatch.setattr(store, 'SHARD_BYTES', 3 * 60 * 64 * 64 * 3)
  benchmark.build_store(tmp_path / 'store', 8)
  data = store.Store(tmp_path / 'store')
  data.check_files()
  assert [(entry['shard'], entry['start']) for entry in data.episodes] == [
      (index // 3, index % 3 * 60) for index in range(8)]
  assert not any(map(data.verify, data.episodes))
  assert data.total_steps == 8 * 59
  sample = replay.Replay(data.directory).sample(
      9, 50, np.random.default_rng(0))
  assert sample['image'].shape == (9, 50, 64, 64, 3)
  assert len(np.unique(sample['image'])) == 256


@pytest.mark.parametrize('name', ['store', 'npz'])
def test_measurements(tmp_path, monkeypatch, name):
  monkeypatch.setattr(benchmark, 'ROWS', 60)
  monkeypatch.setattr(benchmark, 'BATCHES', 1)
  getattr(benchmark, f'build_{name}')(tmp_path / name, 2)
  benchmark.forget(tmp_path / name)
  row = getattr(benchmark, f'measure_{name}')(tmp_path / name)
  assert row['frames'] == 2 * 59
  assert row['sequences_per_second'] > 0
  assert 0 < row['first_batch_seconds'] < 60


def test_earlier_data_is_not_touched(tmp_path, capsys):
  with pytest.raises(SystemExit) as info:
    benchmark.main(['--dir', str(tmp_path)])
  assert info.value.code == 2
  assert capsys.readouterr().err == (
      f'error: {tmp_path} exists; remove it or choose another --dir\n')
  assert tmp_path.exists()
