"""What the source's encoder makes of the target's data, computed once.

State alignment (Eq. 3) compares the target's embedding of each image with the
source's. The source rests while the target learns, so its embeddings of all
rows of the dataset are computed before and read with each batch:

    source 4, aligned     the source has another encoder after each update
    target 1              all rows are embedded, then sampled
    target 2              the same embeddings
"""

import contextlib
import os
import tempfile

import numpy as np

from coworld_tf import batches, pair
from dreamerv2_base import progress

ALIGNED = 'coworld', 'multi_source'  # Methods with state alignment.


class Embeddings:
  """Embeddings of all rows of a dataset by the source that is selected."""

  def __init__(self, config, learner, replay, directory):
    """Computes nothing yet.

    Args:
      config: configuration, see configs/defaults.yaml.
      learner: pair.CoWorldPair, sources.MultiSource or one without alignment.
      replay: replay.Replay of the dataset, or None.
      directory: for a file of what is too large for memory. It has no name
        there, so that it ends with the process.
    """
    self._config, self._learner = config, learner
    self._replay, self._directory = replay, directory
    self._rows = None  # Array [rows, E], or a mapped file.
    self._version = None  # Source that these are of, and its updates.

  def prepare(self, updates, label):
    """Makes the embeddings ready for a block of target updates.

    Args:
      updates: of the whole block, wherever a resumed run stands in it.
      label: of the block, for the progress.

    Returns:
      Function that adds them to batches, see `replay.Replay.sample`, or None
      if the updates must compute them: the block draws fewer frames than the
      dataset has, or the source changes within it.

    Raises:
      cli.Fault: the dataset cannot be read any more.
      OSError: there is no room for the file.
    """
    frames = updates * self._chunk()
    if not wanted(self._config) or frames < self._replay.rows:
      return None
    index = int(self._learner.selected)
    version = index, int(self._learner.sources[index].updates)
    if version != self._version:
      self._version = None  # An interruption leaves a mixture.
      self._fill(label)
      self._version = version
    return self._gather

  def _chunk(self):
    """Images at a time: a shape, and memory, that the updates have too."""
    return self._config.dataset.batch * self._config.dataset.length

  def _fill(self, label):
    size, total, done = self._chunk(), self._replay.rows, 0
    bar = progress.Progress(total, f'{label}, embeddings', 0, 'frame')
    with contextlib.closing(bar):
      for images in self._images(size):
        count = len(images)
        # Repeated to full length, because another shape is another trace.
        found = np.asarray(self._learner.embed(
            np.resize(images, (size, *images.shape[1:]))))[:count]
        if self._rows is None:
          self._rows = allocate(
              (total, found.shape[-1]), found.dtype,
              self._config.align.cache * 10 ** 6, self._directory)
        self._rows[done:done + count] = found
        done += count
        bar.update(count)

  def _images(self, size):
    try:
      yield from self._replay.images(size)
    except (OSError, ValueError) as error:
      raise batches.unreadable(error) from None

  def _gather(self, starts, length):
    return {pair.PEER: np.stack([
        self._rows[start:start + length] for start in starts])}


def wanted(config):
  """Whether target updates need embeddings of a source that rests."""
  changes = (
      config.method == 'multi_source'
      and config.multi_source.reselect == 'step'
      and len(config.multi_source.candidates) > 1)
  return bool(
      config.method in ALIGNED and config.coworld.beta2
      and config.align.cache and not changes)


def allocate(shape, dtype, limit, directory):
  """Returns an array in memory, or in a file if it has more than some bytes.

  Args:
    shape: of the array.
    dtype: of its elements.
    limit: bytes that may be in memory.
    directory: of the file, which has no name there and ends with the array.

  Raises:
    OSError: the file has no room; names the directory.
  """
  size = int(np.prod(shape)) * np.dtype(dtype).itemsize
  if size <= limit:
    return np.empty(shape, dtype)
  with tempfile.TemporaryFile(dir=directory) as file:
    try:
      # Reserved, since a map that finds the disk full ends the process.
      os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
      error.filename = str(directory)
      raise
    return np.memmap(file, dtype, 'r+', shape=shape)
