"""The store on disk: what is written is read, what is damaged is named."""

import functools
import pathlib
import re
import zlib

import numpy as np
import pytest

from dreamerv2_base import episodes, store
from tests.dreamerv2_base import stored

ROOT = pathlib.Path(__file__).parents[2]


def test_round_trip_is_lossless(tmp_path, monkeypatch):
  monkeypatch.setattr(store, 'SHARD_BYTES', 40 * 8 * 8 * 3)
  with store.Writer(tmp_path) as data:
    assert data.keys == {} and data.episodes == []
    for seed in range(12):
      episode = stored.make_episode(seed)
      entry = data.append(episode, source=f'{seed}.npz')
      stored.same(data.read(entry), episode)
      assert entry['rows'] == len(episode['reward'])
      assert entry['return'] == episodes.episode_return(episode)
      assert entry['source'] == f'{seed}.npz' and entry['success'] is None
  assert stored.check(tmp_path) == 12
  again = store.Store(tmp_path)
  assert again.episodes == data.episodes
  assert again.keys == data.keys
  assert again.total_steps == sum(e['rows'] - 1 for e in data.episodes)
  shards = [entry['shard'] for entry in data.episodes]
  assert shards == sorted(shards) and set(shards) == set(range(shards[-1] + 1))
  for path in tmp_path.glob('shard-*/image.bin'):
    assert path.stat().st_size <= 40 * 8 * 8 * 3


def test_reading_as_documented(tmp_path):
  stored.fill(tmp_path)
  for path in tmp_path.rglob('*.bin'):
    path.write_bytes(path.read_bytes() + b'left over')
  text = (ROOT / 'docs' / 'datasets.md').read_text()
  (code,) = re.findall('```python\n(.*?)```', text, re.DOTALL)
  for index in range(3):
    names = {}
    exec(code.replace('DIR', str(tmp_path)).replace(
        'entries[0]', f'entries[{index}]'), names)
    expected = stored.make_episode(index, 10 + index)
    stored.same(names['episode'], expected)
    assert names['header']['format'] == 1
    assert names['entry']['crc32'] == {
        key: zlib.crc32(rows) for key, rows in expected.items()}


def test_an_episode_larger_than_a_shard_has_its_own(tmp_path, monkeypatch):
  monkeypatch.setattr(store, 'SHARD_BYTES', 1)
  stored.fill(tmp_path)
  data = store.Store(tmp_path)
  assert [(e['shard'], e['start']) for e in data.episodes] == [
      (0, 0), (1, 0), (2, 0)]


def test_sequences(tmp_path):
  stored.fill(tmp_path)
  data = store.Store(tmp_path)
  batch = data.gather([data.episodes[i] for i in (2, 0, 2)], [3, 6, 8], 4)
  assert set(batch) == set(episodes.KEYS)
  for index, (seed, start) in enumerate([(2, 3), (0, 6), (2, 8)]):
    expected = stored.make_episode(seed, 10 + seed)
    for key, rows in batch.items():
      np.testing.assert_array_equal(
          rows[index], expected[key][start: start + 4])


def test_success(tmp_path):
  log = lambda rows: {'log_success': np.array(rows, '>f4')}
  with store.Writer(tmp_path) as data:
    assert data.append(stored.make_episode(0, **log([0, 1])))['success'] == 1
    assert data.append(stored.make_episode(0, **log([0, 0])))['success'] == 0
    entry = data.append(stored.make_episode(0, **log([0, 0])), success=1)
    assert entry['success'] == 1
    assert data.read(data.episodes[0], ['log_success']).keys() == {
        'log_success'}
    np.testing.assert_array_equal(
        data.read(data.episodes[0])['log_success'], [0, 1])


@pytest.mark.parametrize('changes, words', [
    ({'image': np.zeros((9, 16, 8, 3), np.uint8)},
     'image rows are uint8 [16, 8, 3], those of the other episodes uint8 [8'),
    ({'action': np.zeros((9, 3), np.float32)}, 'action rows are float32 [3]'),
    ({'log_x': np.zeros(9)}, 'log_x rows are float64 [], those of the other '
     'episodes missing'),
    ({'reward': np.zeros(9)}, 'reward is float64 [9], must be float32'),
    ({'reward': np.full(9, np.nan, np.float32)}, 'reward is not finite'),
])
def test_unlike_episodes_are_refused(tmp_path, changes, words):
  stored.fill(tmp_path)
  before = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
  with store.Writer(tmp_path) as data:
    with pytest.raises(ValueError) as info:
      data.append({**stored.make_episode(0, 9), **changes})
    assert str(info.value).startswith(f'episode: {words}')
    with pytest.raises(TypeError):
      data.append(stored.make_episode(0), source=object())
  assert before == {
      p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}


@pytest.mark.parametrize('key', ['log_/../../x', 'log_', 'log_x.y', 'log_ä'])
def test_names_of_keys_are_no_paths(tmp_path, key):
  with store.Writer(tmp_path) as data:
    episode = {**stored.make_episode(0), key: np.zeros(2)}
    if key == 'log_':
      assert data.append(episode)
    else:
      with pytest.raises(ValueError, match='key .* has rows'):
        data.append(episode)
      assert [path.name for path in tmp_path.iterdir()] == [store.LOCK]


def test_damage_is_found(tmp_path):
  stored.fill(tmp_path)
  data = store.Store(tmp_path)
  path = tmp_path / 'shard-00000' / 'action.bin'
  content = bytearray(path.read_bytes())
  content[data.episodes[1]['start'] * 8 + 5] ^= 1
  path.write_bytes(content)
  assert [data.verify(entry) for entry in data.episodes] == [
      [], ['action'], []]
  path.write_bytes(content[:-1])
  assert [data.verify(entry) for entry in data.episodes] == [
      [], ['action'], ['action']]
  words = f'{path}: truncated, '
  for function in (data.check_files, lambda: data.read(data.episodes[2]),
                   lambda: store.Writer(tmp_path)):
    with pytest.raises(ValueError) as info:
      function()
    assert str(info.value).startswith(words)
  path.unlink()
  with pytest.raises(FileNotFoundError, match='action.bin'):
    data.check_files()


def test_removed_episodes(tmp_path):
  stored.fill(tmp_path)
  store.remove(tmp_path, [0, 2])
  data = store.Store(tmp_path)
  assert [entry['id'] for entry in data.episodes] == [1]
  stored.same(data.read(data.episodes[0]), stored.make_episode(1, 11))
  with store.Writer(tmp_path) as data:
    data.append(stored.make_episode(7))
  stored.same(data.read(data.episodes[0]), stored.make_episode(1, 11))
  stored.same(data.read(data.episodes[1]), stored.make_episode(7))


def test_directories_that_are_no_stores(tmp_path):
  for make in (store.Store, store.Writer):
    with pytest.raises(FileNotFoundError, match='directory: .*/nowhere'):
      make(tmp_path / 'nowhere')
    assert make(tmp_path).episodes == []
  (tmp_path / 'shard-00000').mkdir()
  for make in (store.Store, store.Writer):
    with pytest.raises(ValueError, match='has shards but no index.jsonl'):
      make(tmp_path)
  (tmp_path / 'old.npz').touch()
  for make in (store.Store, store.Writer):
    with pytest.raises(ValueError, match='npz files, which must be imported'):
      make(tmp_path)
  assert (tmp_path / 'shard-00000').exists()


def test_opened_while_a_writer_begins(tmp_path, monkeypatch):
  """The writer begins before one of the reader's looks at the directory.

  The last moments come after all looks, so that it does not begin.
  """
  episode = stored.make_episode(1)
  looks = 'is_file', 'exists', 'glob'
  kinds = {name: getattr(pathlib.Path, name) for name in looks}
  for moment in range(6):
    directory, calls = tmp_path / str(moment), []
    directory.mkdir()

    def look(path, *args, name, directory=directory, calls=calls, now=moment):
      monkeypatch.undo()
      if len(calls) == now:
        with store.Writer(directory) as data:
          data.append(episode)
      calls.append(name)
      found = kinds[name](path, *args)
      found = list(found) if name == 'glob' else found
      patch()
      return found

    def patch(look=look):
      for name in looks:
        monkeypatch.setattr(pathlib.Path, name, functools.partialmethod(
            look, name=name))

    patch()
    data = store.Store(directory)
    monkeypatch.undo()
    assert len(data.episodes) == (1 if moment < len(calls) else 0)
