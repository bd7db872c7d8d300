"""Runs code on an input that may mean harm and sees what it does."""

import collections
import contextlib
import io
import os
import pathlib
import resource
import sys
import tempfile
import time

import matplotlib.pyplot  # noqa: F401, it writes when it is loaded.

from coworld_tf import cli

COUNTS = collections.Counter()
SECONDS, KILOBYTES = 20, 700 * 1024
_WRITES = {
    'open': 0, 'os.mkdir': 0, 'os.rename': 1, 'os.remove': 0, 'os.rmdir': 0,
    'os.link': 1, 'os.symlink': 1, 'os.truncate': 0, 'os.chmod': 0,
    'shutil.rmtree': 0}
_NEVER = (
    'pickle.find_class', 'subprocess.Popen', 'os.system', 'os.exec',
    'os.posix_spawn', 'os.fork', 'socket.connect')
_watch = {'allowed': None, 'seen': []}


def _audit(event, args):
  """Notes what CPython tells of writes elsewhere, programs and pickles."""
  if _watch['allowed'] is None:
    return
  if event in _NEVER:
    _watch['seen'].append(f'{event} {args}')
  elif event in _WRITES and isinstance(args[_WRITES[event]], (
      str, bytes, os.PathLike)):
    writes = event != 'open' or (args[2] or 0) & (
        os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    # The folder, since a link may itself be replaced.
    path = os.fspath(args[_WRITES[event]])
    folder, name = os.path.split(os.fsdecode(path))
    real = os.path.join(os.path.realpath(folder), name)
    real = os.path.realpath(real) if event == 'open' else real
    # The cache of a module that is imported late is no fault.
    if writes and '__pycache__' not in real and not any(
        f'{real}/'.startswith(f'{folder}/') for folder in _watch['allowed']):
      _watch['seen'].append(f'{event} {real}')


sys.addaudithook(_audit)


@contextlib.contextmanager
def folder():
  """Yields a new directory with a file that nothing may change in it."""
  with tempfile.TemporaryDirectory() as directory:
    directory = pathlib.Path(directory).resolve()
    (directory / 'mine').mkdir()
    (directory / 'mine' / 'precious').write_bytes(b'mine' * 100)
    yield directory


def outcome(function, directory, *outputs):
  """Runs a function in which user errors may occur and no others.

  Args:
    function: without arguments.
    directory: of `folder`, with the input.
    outputs: names below it that may be written.

  Returns:
    What is printed as an error, or '' if the input is accepted.
  """
  allowed = [str(directory / name) for name in outputs]
  before, start = _listing(directory, allowed), time.time()
  memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  _watch.update(allowed=allowed, seen=[])
  try:
    with contextlib.redirect_stdout(io.StringIO()), (
        contextlib.redirect_stderr(io.StringIO())) as stream:
      kind, status = _run(function)
  finally:
    _watch['allowed'] = None
  COUNTS[kind] += 1
  assert not _watch['seen'], _watch['seen']
  assert before == _listing(directory, allowed)
  assert time.time() - start < SECONDS
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
  assert grown < KILOBYTES, f'{grown} kB'
  *others, line = stream.getvalue().splitlines() or ['']
  if kind.startswith('accepted') or kind == 'usage':
    return line if kind == 'usage' else ''
  assert status == 2 and line.startswith('error: ') and line.isprintable()
  assert len(line) < 3000 and 'Traceback' not in ''.join(others)
  return line


def _run(function):
  """The kind of what happened, and the exit status."""
  kinds = []

  def noted():
    try:
      function()
    except Exception as error:
      kinds.append(type(error).__name__)
      raise

  try:
    with cli.input_errors():
      noted()
  except SystemExit as error:
    # Programs have caught theirs.
    return kinds[0] if kinds else _kind(error.code), error.code
  return 'accepted', 0


def _kind(status):
  return 'accepted' if not status else (
      'usage' if '\nusage' in f'\n{sys.stderr.getvalue()}' else 'refused')


def _listing(directory, allowed):
  """What is in a directory, but for what may be written."""
  found = {}
  for place, folders, names in os.walk(directory):
    if place in allowed:
      folders.clear()
      continue
    for name in [*folders, *names]:
      path = os.path.join(place, name)
      if path in allowed:
        continue
      status = os.lstat(path)
      found[path] = status.st_mode, status.st_size
      if os.path.isfile(path) and status.st_size < 2 ** 20:
        found[path] += (pathlib.Path(path).read_bytes(),)
  return found
