"""A store whose writers are killed, run out of space or are several."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from dreamerv2_base import store
from tests.dreamerv2_base import stored

ROOT = pathlib.Path(__file__).parents[2]
# Run by a process of its own, which is small and can be killed.
START = f"""
import os, random, signal, sys, time
from dreamerv2_base import store
from tests.dreamerv2_base import stored
store.SHARD_BYTES = {40 * 8 * 8 * 3}
directory = sys.argv[1]
"""
WRITE = START + """
with store.Writer(directory) as data:
  print('ready', flush=True)
  while True:
    data.append(stored.make_episode(len(data.episodes)))
"""
KILL = START + f"""
WRITE = {WRITE!r}
random.seed(0)
found = 0
for _ in range(50):
  child = os.fork()
  if not child:
    exec(WRITE)
  time.sleep(random.uniform(0, 0.1))
  os.kill(child, signal.SIGKILL)
  os.waitpid(child, 0)
  before, found = found, stored.check(directory)
  assert found >= before
assert found > 10
"""
FILL = START + """
import resource
data = store.Writer(directory)
data.append(stored.make_episode(0))
# One byte of the next episode fits.
limit = os.path.getsize(directory + '/shard-00000/image.bin') + 1
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
  data.append(stored.make_episode(1))
except OSError as error:
  print(error)
assert stored.check(directory) == len(data.episodes) == 1
"""


def run(code, directory):
  return subprocess.run(
      [sys.executable, '-c', code, directory], cwd=ROOT, timeout=120,
      capture_output=True, text=True)


@pytest.fixture
def writer(tmp_path):
  """A process that appends to a store as fast as it can."""
  process = subprocess.Popen(
      [sys.executable, '-c', WRITE, tmp_path], cwd=ROOT, text=True,
      stdout=subprocess.PIPE)
  assert process.stdout.readline() == 'ready\n'
  yield process
  process.kill()
  process.communicate()


def test_kill_at_random_moments(tmp_path):
  result = run(KILL, tmp_path)
  assert result.returncode == 0, result.stderr
  count = stored.check(tmp_path)
  with store.Writer(tmp_path) as data:
    data.append(stored.make_episode(count))
  assert stored.check(tmp_path) == count + 1


@pytest.mark.parametrize('first', [True, False])
def test_crash_after_any_write(tmp_path, first):
  with store.Writer(tmp_path) as data:
    if not first:
      data.append(stored.make_episode(0))
    kept = len(data.episodes)
    data.append(stored.make_episode(kept))
  entry, index = data.episodes[-1], tmp_path / 'index.jsonl'
  paths = [tmp_path / 'shard-00000' / f'{key}.bin' for key in data.keys]
  starts = [entry['start'] * row.itemsize for row in data.keys.values()]
  whole = index.read_bytes()
  starts.append(whole.rstrip().rfind(b'\n') + 1)
  content = {path: path.read_bytes() for path in [*paths, index]}
  for part, (path, start) in enumerate(zip(content, starts, strict=True)):
    for size in (start, start + 1, len(content[path]) - 1):
      for other, begin in zip(content, starts, strict=True):
        other.write_bytes(content[other][:begin])
      for other in list(content)[:part]:
        other.write_bytes(content[other])
      path.write_bytes(content[path][:size])
      assert stored.check(tmp_path) == kept
      with store.Writer(tmp_path) as data:
        data.append(stored.make_episode(kept))
      assert stored.check(tmp_path) == kept + 1
      assert content == {path: path.read_bytes() for path in content}


def test_rows_are_on_disk_before_the_index(tmp_path, monkeypatch):
  synced, fsync = [], os.fsync

  def record(file):
    path = pathlib.Path(os.readlink(f'/proc/self/fd/{file}'))
    synced.append((path.name, path.stat().st_size))
    fsync(file)

  monkeypatch.setattr(store.files.os, 'fsync', record)
  with store.Writer(tmp_path) as data:
    data.append(stored.make_episode(0))
    # The names of new files as well.
    names = [name for name, _ in synced]
    assert names[:4] == [
        'index.jsonl.tmp', tmp_path.name, 'shard-00000', tmp_path.name]
    synced.clear()
    data.append(stored.make_episode(1))
  paths = [*(tmp_path / 'shard-00000' / f'{key}.bin' for key in data.keys),
           tmp_path / 'index.jsonl']
  assert synced == [(path.name, path.stat().st_size) for path in paths]


def test_full_disk(tmp_path):
  result = run(FILL, tmp_path)
  assert result.returncode == 0, result.stderr
  assert result.stdout == (
      f"[Errno 27] File too large: '{tmp_path}/shard-00000/image.bin'\n")
  assert stored.check(tmp_path) == 1
  with store.Writer(tmp_path) as data:
    data.append(stored.make_episode(1))
  assert stored.check(tmp_path) == 2


@pytest.mark.parametrize('failing', range(8))
def test_any_failing_write_leaves_the_store_as_it_was(
    tmp_path, monkeypatch, failing):
  stored.fill(tmp_path)
  before = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
  pwrite, calls = os.pwrite, []

  def fail(file, view, offset):
    calls.append(file)
    if len(calls) > failing:
      raise OSError(28, 'No space left on device')
    return pwrite(file, view[:100], offset)

  with store.Writer(tmp_path) as data:
    monkeypatch.setattr(store.files.os, 'pwrite', fail)
    with pytest.raises(OSError, match='No space left on device.*/image.bin'):
      data.append(stored.make_episode(3))
    monkeypatch.undo()
    assert len(data.episodes) == 3
    assert before == {
        p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
    data.append(stored.make_episode(3, 13))
  assert store.Store(tmp_path).verify(data.episodes[-1]) == []


def test_one_writer_at_a_time(tmp_path, writer):
  with pytest.raises(ValueError) as info:
    store.Writer(tmp_path)
  assert str(info.value) == f'{tmp_path}: another process is writing there'
  with pytest.raises(ValueError, match='another process'):
    store.remove(tmp_path, [0])
  writer.kill()
  writer.wait()
  store.Writer(tmp_path).close()
  store.Writer(tmp_path).close()


def test_readers_follow_a_writer(tmp_path, writer):
  readers = [store.Store(tmp_path), store.Store(tmp_path)]
  deadline = time.time() + 60
  while len(readers[0].episodes) < 20:
    assert writer.poll() is None and time.time() < deadline
    for reader in readers:
      known = len(reader.episodes)
      reader.refresh()
      for index, entry in enumerate(reader.episodes[known:], known):
        assert entry['id'] == index
        stored.same(reader.read(entry), stored.make_episode(index))
  readers[1].refresh()
  count = len(readers[1].episodes)
  assert readers[1].episodes == store.Store(tmp_path).episodes[:count]
  assert readers[1].total_steps == sum(
      entry['rows'] - 1 for entry in readers[1].episodes)
