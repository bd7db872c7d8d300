"""Stores that are damaged or made to do damage."""

import json

import pytest

from dreamerv2_base import episodes, store
from tests.dreamerv2_base import stored


def damaged_lines():
  """Line number, what is in it, and what is said of it."""
  entry = {
      'id': 9, 'shard': 0, 'start': 99, 'rows': 5, 'return': 0.0,
      'success': None, 'crc32': dict.fromkeys(episodes.KEYS, 0)}
  for name, values in {
      'id': [-1, 0.5, None, '1', 2 ** 64], 'rows': [1, 2 ** 40, True],
      'shard': [-1, 10 ** 5, '../../etc', '0'], 'start': [-8, 2 ** 62, 0],
      'return': [None, '1', 10 ** 400], 'success': ['yes', 2, []],
      'crc32': [{}, None, {'image': 0}]}.items():
    for value in values:
      yield 4, {**entry, name: value}, name if name != 'start' or value else (
          'not after')
  yield 4, {**entry, 'id': 1}, 'not after episode 1'
  yield 4, {'first_shard': '../..'}, 'first_shard'
  yield 4, [], 'not an object'
  keys = {key: {'dtype': dtype, 'shape': [8] * (rank - 1)}
          for key, (dtype, rank) in episodes.KEYS.items()}
  for key, row in {
      '../x': keys['reward'], 'a/b': keys['reward'], '': keys['reward'],
      'log_x': {'dtype': 'object', 'shape': []},
      'log_y': {'dtype': 'O', 'shape': []},
      'log_z': {'dtype': 'float32', 'shape': [0]},
      'log_u': {'dtype': 'float32', 'shape': [-1]},
      'log_v': {'dtype': 'float32', 'shape': [2 ** 40, 2 ** 40]},
      'log_w': {'dtype': 'float32'}, 'log_t': None,
      'image': {'dtype': 'float32', 'shape': [8, 8, 3]},
      'action': keys['reward']}.items():
    yield 1, {'format': 1, 'keys': {**keys, key: row}}, ''
  yield 1, {'format': 2, 'keys': keys}, 'format is 2, this version reads 1'
  yield 1, {'format': 1, 'keys': []}, 'keys are missing'
  yield 1, {'format': 1, 'keys': {}}, 'image is None'


@pytest.mark.parametrize('line, record, words', [
    *damaged_lines(), (3, b'{"id": 1, "sh', ''), (3, b'\xff\xfe', ''),
    (2, b'[' * 10 ** 5, 'nested'), (2, b'', ''), (2, b'NaN', 'not an object'),
    (4, b'{"id": %s}' % (b'9' * 5000), '')])
def test_damaged_indexes_are_named(tmp_path, line, record, words):
  stored.fill(tmp_path, 2)
  before = {p: p.read_bytes() for p in tmp_path.rglob('*.bin')}
  path = tmp_path / 'index.jsonl'
  lines = path.read_bytes().splitlines()
  if not isinstance(record, bytes):
    record = json.dumps(record).encode()
  lines[line - 1: line] = [record]
  # Behind it, since a last line may be torn.
  path.write_bytes(b'\n'.join([*lines, b'{"first_shard": 0}', b'']))
  for make in (store.Store, store.Writer):
    with pytest.raises(ValueError) as info:
      make(tmp_path)
    assert str(info.value).startswith(
        f'{path}: line {line} is damaged: {words}')
    assert '\n' not in str(info.value)
  assert before == {p: p.read_bytes() for p in tmp_path.rglob('*.bin')}


@pytest.mark.parametrize('line', [
    b'{"id": 2, "sh', b'\xff\xfe', b'', b'\0' * 300, b'[]', b'[' * 10 ** 5])
def test_damaged_last_line_is_left_out_and_overwritten(
    tmp_path, line, caplog):
  stored.fill(tmp_path, 2)
  path = tmp_path / 'index.jsonl'
  before = path.read_bytes()
  path.write_bytes(before + line + b'\n')
  data = store.Store(tmp_path)
  assert len(data.episodes) == 2
  assert f'{path}: line 4, the last one, is damaged' in caplog.text
  with store.Writer(tmp_path) as writer:
    writer.append(stored.make_episode(2))
  data.refresh()
  assert data.verify(data.episodes[2]) == []
  path.write_bytes(path.read_bytes() + line + b'\n')
  store.remove(tmp_path, [2])
  assert path.read_bytes() == before


def test_lines_without_an_end_are_not_read(tmp_path):
  stored.fill(tmp_path, 2)
  with (tmp_path / 'index.jsonl').open('r+b') as file:
    file.truncate(2 ** 34)
  with pytest.raises(ValueError, match='line 4 is damaged: longer than'):
    store.Store(tmp_path)


def test_reader_of_a_replay_that_loses_its_oldest_shard(tmp_path, monkeypatch):
  monkeypatch.setattr(store, 'SHARD_BYTES', 1)
  stored.fill(tmp_path)
  readers = [store.Store(tmp_path), store.Store(tmp_path)]
  with store.Writer(tmp_path) as writer:
    writer.drop_before(1)
  for function in (
      readers[0].check_files, lambda: readers[1].read(readers[1].episodes[0])):
    with pytest.raises(ValueError, match='shard-00000.*: deleted meanwhile'):
      function()
  assert [len(reader.episodes) for reader in readers] == [2, 2]


@pytest.mark.parametrize('name', [
    'shard-00000', 'shard-00000/is_last.bin', 'shard-00001', 'writer.lock',
    'index.jsonl.tmp'])
def test_links_are_not_written_through(tmp_path, name):
  data, other = tmp_path / 'data', tmp_path / 'other'
  data.mkdir()
  stored.fill(data)
  path = data / name
  if path.is_dir():
    path.rename(other)
  else:
    path.unlink(missing_ok=True)
    other.write_bytes(b'mine' * 1000)
  path.symlink_to(other)
  content = lambda: {
      x: x.read_bytes() for x in tmp_path.rglob('*') if x.is_file()}
  before = content()
  with pytest.raises(ValueError, match=f'{path}: is a symbolic link'):
    store.Writer(data)
  assert content() == before


def test_huge_numbers_of_rows_are_not_believed(tmp_path):
  stored.fill(tmp_path, 1)
  path = tmp_path / 'index.jsonl'
  header, line = path.read_text().splitlines()
  entry = {**json.loads(line), 'rows': 2 ** 31, 'start': 2 ** 31}
  path.write_text(f'{header}\n{json.dumps(entry)}\n')
  data = store.Store(tmp_path)
  assert data.verify(data.episodes[0]) == list(data.keys)
  with pytest.raises(ValueError, match='truncated'):
    data.check_files()
