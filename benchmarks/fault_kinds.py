"""What can happen to a run, at random; see faults.py.

Each kind is a function of a fault_runs.Run, the number of lines of metrics
that it will have, its size in bytes and a random.Random. It starts the run,
does something to it and waits for its end, and tells whether that happened: a
run may end before.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time

from benchmarks import fault_runs

LEFT = (
    'checkpoints/ckpt-9999.tmp/variables.index', 'config.yaml.tmp',
    'checkpoints/ckpt-1.tmp/checkpoint.json', 'summary.json.tmp',
    'source_episodes/index.jsonl.tmp', 'source_episodes/metadata.json.tmp',
    'videos/target_episode-3.gif.tmp')
OUTPUT = 2 ** 14  # Bytes that a process can always print.


def signaled(number):
  """Returns the kind in which a signal comes at a random moment."""
  killed = number == signal.SIGKILL
  def happen(run, lines, size, rng):
    process = run.start(_every(rng))
    _moment(run, process, lines + killed, rng)
    with contextlib.suppress(ProcessLookupError):
      os.kill(process.pid, number)
    return run.finish(process, -number if killed else 128 + number) != 0
  return happen


def disk_full(run, lines, size, rng):
  """The file system is full, then there is room again."""
  filler, left = run.disk / 'filler', rng.randrange(size)
  space = os.statvfs(run.disk)
  with filler.open('wb') as file:
    room = space.f_bavail * space.f_frsize - left
    if room > 0:
      os.posix_fallocate(file.fileno(), 0, room)
  status = run.finish(run.start(_every(rng)), 2)
  filler.unlink()
  return status != 0


def file_limit(run, lines, size, rng):
  """No file can be larger than a limit, which is lifted then."""
  limit = rng.randrange(OUTPUT, OUTPUT + size // 3)
  return run.finish(run.start(_every(rng), limit), 2) != 0


def simulator(number):
  """Returns the kind in which a simulator gets a signal."""
  def happen(run, lines, size, rng):
    process = run.start(_every(rng))
    _moment(run, process, lines, rng)
    living = lambda: fault_runs.simulators(process.pid)
    while fault_runs.wait(process, living):
      time.sleep(rng.uniform(0, 0.3))
      if pids := living():
        with contextlib.suppress(ProcessLookupError):
          os.kill(pids[0], number)
        break
    # One that is lost before the training begins ends the run.
    ended = run.finish(process, 2)
    return bool(ended) or 'going on with a new one' in run.output()
  return happen


def damaged(damage):
  """Returns the kind in which files are damaged after a SIGKILL.

  Args:
    damage: function of the run, the facts of its newest checkpoint and a
      random.Random. It returns what was in the files that it changed, by
      path, and whether the run goes on with them, None for either; it
      changes none if it finds none.
  """
  kill = signaled(signal.SIGKILL)
  def happen(run, lines, size, rng):
    kill(run, lines, size, rng)
    facts = run.facts()
    before, survives = damage(run, facts, rng) if facts else ({}, True)
    content = run.content()
    status = run.finish(run.start(_every(rng)), 2)
    if before and survives not in (None, status == 0):
      raise fault_runs.Lost(
          f'status {status} with damaged {", ".join(map(str, before))}')
    if status:
      if run.content() != content:
        raise fault_runs.Lost('something was written though it was refused')
      for path, data in before.items():
        path.write_bytes(data)
      run.reached = 0, 0  # Nothing was made.
    return bool(before)
  return happen


def checkpoint(run, facts, rng):
  """Damages the newest checkpoint; there may be another to go back to."""
  kept = fault_runs.checkpoints.kept(run.logdir / 'checkpoints')
  path = rng.choice(sorted(kept[-1].iterdir()))
  return _harm(path, 0, rng), len(kept) > 1


def log_end(run, facts, rng):
  """Damages what the logs say after the newest checkpoint."""
  path = run.logdir / rng.choice(fault_runs.LOGS)
  if not path.exists():
    return {}, True
  return _harm(path, facts['logs'][path.name], rng, True), True


def index_end(run, facts, rng):
  """Damages the last line of the index, of an episode made since then."""
  path, count = _store(run, facts)
  if not path:
    return {}, True
  lines = (path / 'index.jsonl').read_bytes().splitlines(keepends=True)
  known = min(1 + count, len(lines))
  start = sum(map(len, lines[:max(known, len(lines) - 1)]))
  return _harm(path / 'index.jsonl', start, rng, True), None


def rows_end(run, facts, rng):
  """Damages rows of episodes that were made since the newest checkpoint."""
  path, count = _store(run, facts)
  if not path:
    return {}, True
  data = fault_runs.store.Store(path)
  known = [entry for entry in data.episodes if entry['id'] < count]
  end = known[-1]['start'] + known[-1]['rows'] if known else 0
  key = rng.choice(sorted(data.keys))
  file, size = path / 'shard-00000' / f'{key}.bin', data.keys[key].itemsize
  found = file.read_bytes()
  if rng.random() < 0.5:
    file.write_bytes(found + rng.randbytes(1000))
  else:
    tail = rng.randbytes(max(len(found) - end * size, 0))
    file.write_bytes(found[:end * size] + tail)
  return {file: found}, True


def rows_missing(run, facts, rng):
  """Takes rows away that the checkpoint needs, which must be refused."""
  path, count = _store(run, facts)
  if not path or not count:
    return {}, True
  data = fault_runs.store.Store(path)
  key = rng.choice(sorted(data.keys))
  last = [entry for entry in data.episodes if entry['id'] < count][-1]
  file = path / 'shard-00000' / f'{key}.bin'
  found = file.read_bytes()
  end = (last['start'] + last['rows']) * data.keys[key].itemsize
  file.write_bytes(found[:rng.randrange(end)])
  return {file: found}, False


def leftovers(run, facts, rng):
  """Leaves files under the names that are used while something is written."""
  before = {}
  for name in rng.sample(LEFT, 3):
    path = run.logdir / name
    if path.parents[1].exists() and (
        path.parent.exists() or '.tmp/' in name):
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(rng.randbytes(100))
      before[path] = b''
  return before, True


# Group: name: function.
KINDS = {
    'signals': {
        'SIGKILL': signaled(signal.SIGKILL),
        'SIGTERM': signaled(signal.SIGTERM),
        'Ctrl-C': signaled(signal.SIGINT)},
    'disk': {
        'full disk': disk_full, 'limit of files': file_limit},
    'simulators': {
        'simulator killed': simulator(signal.SIGKILL),
        'simulator hangs': simulator(signal.SIGSTOP)},
    'files': {
        'checkpoint damaged': damaged(checkpoint),
        'end of a log damaged': damaged(log_end),
        'end of the index damaged': damaged(index_end),
        'last rows damaged': damaged(rows_end),
        'rows missing': damaged(rows_missing),
        'temporary files left': damaged(leftovers)}}
# Those that a run without a simulator cannot have.
REPLAY = {'end of the index damaged', 'last rows damaged', 'rows missing'}


@contextlib.contextmanager
def mounted(path, size):
  """Has a file system of a size in bytes at a path, which is lost then."""
  mount(path, size)
  try:
    yield
  finally:
    subprocess.run(['umount', '--lazy', path], check=True)


def mount(path, size):
  """Mounts a file system in memory; CalledProcessError if it may not."""
  subprocess.run(
      ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', path],
      check=True, capture_output=True)


def can_mount(path):
  """Whether this process may mount something at a path."""
  if not shutil.which('mount'):
    return False
  try:
    with mounted(path, 2 ** 20):
      return True
  except subprocess.CalledProcessError:
    return False


def _every(rng):
  """Seconds between the checkpoints of a start."""
  return rng.choice([0, 1, 120])


def _moment(run, process, lines, rng):
  """Waits for some line of metrics, and some time after it."""
  now = run.lines()
  goal = rng.randrange(now, max(lines, now + 1))
  fault_runs.wait(process, lambda: run.lines() >= goal)
  fault_runs.wait(process, run.starts[-1].exists)
  time.sleep(rng.uniform(0.1, 1))


def _harm(path, start, rng, append=False):
  """Flips a byte from an offset on, truncates there, or appends."""
  before = path.read_bytes()
  data = bytearray(before)
  way = rng.choice(['flip', 'cut', *['append'] * append])
  if way == 'append' or start >= len(data):
    if not append:
      return {}
    torn = [bytes(50), rng.randbytes(50), before[-60:-20]]
    data += rng.choice(torn).replace(b'\n', b'')
  elif way == 'flip':
    data[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
  else:
    del data[rng.randrange(start, len(data)):]
  path.unlink()  # Another checkpoint may share the bytes.
  path.write_bytes(data)
  return {path: before}


def _store(run, facts):
  """Directory of the episodes and how many the checkpoint knows of."""
  path = run.logdir / 'source_episodes'
  for replay in facts['replays'].values():
    if (path / 'index.jsonl').exists():
      return path, replay['episodes']
  return None, 0
