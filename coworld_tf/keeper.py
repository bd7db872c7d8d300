"""Writes the checkpoints of a run and restores the newest that is whole.

A checkpoint gets its name once it is on disk and was read again. The last two
are kept, and that of the best evaluation; the others go only then.
"""

import collections
import contextlib
import errno
import json
import logging
import os
import shutil
from concurrent import futures

import numpy as np
import tensorflow as tf

from coworld_tf import checkpoints, cli, inputs
from dreamerv2_base import files

LOG = logging.getLogger(__name__)
LAST = 2  # That are kept, whatever their return.
LOCK = 'run.lock'
# What TensorFlow makes of a full disk and of a limit of files.
FULL = {
    tf.errors.ResourceExhaustedError: errno.ENOSPC,
    tf.errors.OutOfRangeError: errno.EFBIG}


class Keeper:
  """Keeps the checkpoints of a learner."""

  def __init__(self, directory, learner, config):
    """Takes what belongs to all of them; writes nothing yet.

    Args:
      directory: of the checkpoints, created by the first.
      learner: tf.Module with all variables.
      config: configuration of the run.
    """
    self.directory, self.config = directory, config
    self.variables = tf.train.Checkpoint(learner=learner)
    self._kept = {}  # Path: facts, oldest first.
    self._lock = contextlib.ExitStack()
    self._pool = futures.ThreadPoolExecutor(1)
    self._jobs = collections.deque()  # What it has to do, oldest first.

  def restore(self):
    """Restores the newest checkpoint that is whole; locks the directory.

    Returns:
      Its facts and pending metrics, or None if there are no checkpoints.

    Raises:
      ValueError: none is whole, it belongs to another configuration or
        version, or another process is at work.
    """
    self.directory.mkdir(parents=True, exist_ok=True)
    try:
      self._lock.enter_context(files.locked(self.directory / LOCK))
    except BlockingIOError:
      raise ValueError(
          f'{self.directory.parent}: another process is training there'
      ) from None
    for path in self.directory.glob(f'{checkpoints.NAME}*.tmp'):
      shutil.rmtree(path)
    paths = checkpoints.kept(self.directory)
    if not paths:
      return None
    if self.config.resume == 'never':
      raise ValueError(
          f'{self.directory}: holds checkpoints; choose another --logdir, or '
          '--resume auto to continue their run')
    path, facts = _newest(paths)
    self._check(path, facts)
    try:
      self.variables.read(
          str(path / checkpoints.VARIABLES)).assert_consumed()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
      reason = str(error).strip().split('\n')[0]
      raise ValueError(
          f'{path}: has other variables than this configuration, which '
          f'--resume force cannot change: {reason}') from None
    for other in paths[:paths.index(path)]:
      self._kept[other] = {'return': checkpoints.score(other)}
    self._kept[path] = facts
    return facts, files.read_json(path / checkpoints.PENDING)

  def save(self, facts, pending):
    """Writes a checkpoint, which counts once it is settled.

    The variables may change when this returns. The rest, to verify it and to
    delete what it replaces, is done by a thread.

    Args:
      facts: where the run stands, JSON values by name.
      pending: metrics that wait for the next line of the log.

    Raises:
      OSError, cli.Fault: as for `settle`, also of the one before.
    """
    self.settle()
    facts = {
        'format': checkpoints.FORMAT, **facts, 'return': None,
        'config': self.config.to_dict(), 'tensorflow': tf.__version__}
    with contextlib.ExitStack() as stack:
      temporary, path = stack.enter_context(self._new())
      self.variables.write(str(temporary / checkpoints.VARIABLES))
      rest = stack.pop_all()
    def finish():
      with rest:
        check_finite(str(temporary / checkpoints.VARIABLES))
        _write(temporary / checkpoints.FACTS, facts)
        _write(temporary / checkpoints.PENDING, pending)
      self._kept[path] = facts
      self._drop()
      return True
    self._jobs.append(self._pool.submit(finish))

  def rate(self, score):
    """Gives the newest checkpoint a return, once this is settled.

    A copy takes its place, so that it is whole at any moment.

    Args:
      score: mean return of the policy that it holds.
    """
    before = [*self._jobs]
    def rate():
      for job in before:
        job.result()  # Or another checkpoint would be the newest.
      last = max(self._kept, key=checkpoints.number)
      try:
        facts = {**checkpoints.read(last), 'return': score}
      except checkpoints.Damaged as error:
        raise cli.Fault(
            f'{error}; the same command goes back to the one before') from None
      with self._new() as (temporary, path):
        for file in last.iterdir():
          if file.name not in (checkpoints.FACTS, files.CHECKSUMS):
            _link(file, temporary / file.name)
        _write(temporary / checkpoints.FACTS, facts)
      others = {x: y for x, y in self._kept.items() if x != last}
      self._kept = {**others, path: facts}
      self._drop()
      return False
    self._jobs.append(self._pool.submit(rate))

  def settle(self, wait=True):
    """Ends what `save` and `rate` began.

    Args:
      wait: for what is not over, or leave that as it is.

    Returns:
      Whether a checkpoint was saved.

    Raises:
      cli.Fault: a variable is not finite, or the checkpoint to be rated is
        damaged; nothing is written.
      OSError: it cannot be written; all others are as before.
    """
    saved = False
    while self._jobs and (wait or self._jobs[0].done()):
      saved |= self._jobs.popleft().result()
    return saved

  def close(self):
    """Ends what is under way; lets another process continue the run."""
    self._pool.shutdown()
    self._lock.close()

  def last(self):
    """Returns the facts of those that a run may have to go back to."""
    return list(self._kept.values())[-LAST:]

  @contextlib.contextmanager
  def _new(self):
    """Yields a temporary folder, and the path of the checkpoint it becomes.

    At the end its checksums are written and it gets its name. After an
    exception nothing is left of it.
    """
    last = max(self._kept, key=checkpoints.number, default=None)
    count = checkpoints.number(last) + 1 if last else 1
    path = self.directory / f'{checkpoints.NAME}{count}'
    temporary = path.with_name(f'{path.name}.tmp')
    temporary.mkdir()
    try:
      yield temporary, path
      files.write_checksums(temporary)
      if path.exists():  # Damaged, and passed over by `restore`.
        shutil.rmtree(path)
      temporary.rename(path)
    except tuple(FULL) as error:
      number = FULL[type(error)]
      raise OSError(number, os.strerror(number), str(path)) from None
    finally:
      shutil.rmtree(temporary, ignore_errors=True)
    files.sync(self.directory)

  def _check(self, path, facts):
    different = inputs.differences(facts['config'], self.config)
    if different and self.config.resume != 'force':
      raise ValueError(
          f'{path}: is of a run with {different}; choose another --logdir, or '
          'go on with --resume force')

  def _drop(self):
    scores = {path: facts['return'] for path, facts in self._kept.items()}
    keep = {checkpoints.best(scores), *list(self._kept)[-LAST:]}
    self._kept = {path: self._kept[path] for path in self._kept
                  if path in keep}
    for path in checkpoints.kept(self.directory):
      if path not in keep:
        # What is left of it after a crash must not look damaged.
        temporary = path.with_name(f'{path.name}.tmp')
        path.rename(temporary)
        shutil.rmtree(temporary)


def _newest(paths):
  """Returns the newest of paths that is whole, and its facts."""
  for index, path in reversed(list(enumerate(paths))):
    try:
      return path, checkpoints.read(path)
    except (checkpoints.Damaged, OSError) as error:
      if not index:
        raise ValueError(
            f'{error}; no other checkpoint is left, choose another --logdir '
            'to start anew') from None
      LOG.warning(
          'warning: %s; going back to %s', error, paths[index - 1].name)


def _write(path, content):
  path.write_text(json.dumps(content) + '\n')


def _link(source, destination):
  """Gives a file a second name, or copies it where files have but one."""
  try:
    os.link(source, destination)
  except OSError:
    shutil.copyfile(source, destination)


def check_finite(prefix):
  """Reads all variables of a TensorFlow checkpoint.

  Raises:
    cli.Fault: names those that hold NaN or infinity.
  """
  reader = tf.train.load_checkpoint(prefix)
  wrong = [
      key.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE')
      for key, dtype in sorted(reader.get_variable_to_dtype_map().items())
      if _has_fault(reader.get_tensor(key), dtype)]
  if wrong:
    more = f' and {len(wrong) - 5} more' * (len(wrong) > 5)
    raise cli.Fault(
        f"no checkpoint is written: {', '.join(wrong[:5])}{more} not finite; "
        'the same command goes back to the last one')


def _has_fault(array, dtype):
  return dtype.is_floating and not np.isfinite(array).all()
