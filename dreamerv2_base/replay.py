"""Training sequences drawn from a store of episodes."""

import itertools

import numpy as np

from dreamerv2_base import episodes, store


class TooShort(ValueError):
  """No episode is as long as a sequence to sample."""


class Replay:
  """Draws from the episodes of a directory; nothing but these is in memory.

  Offline datasets and the replay of an online agent are the same store.
  """

  def __init__(
      self, directory, capacity=0, prioritize_ends=False, writable=False):
    """Reads the index of the store.

    Args:
      directory: existing folder of the store, which may be empty.
      capacity: agent steps to sample from, 0 for all: those of the newest
        episodes, of which there is at least one.
      prioritize_ends: whether the last rows of an episode are sampled as
        often as those in the middle, at the expense of uniform start
        positions.
      writable: whether `append`, `cut` and `drop_before` may be used, by one
        process at a time.

    Raises:
      FileNotFoundError: the directory does not exist.
      ValueError: the store is damaged, or has another writer.
    """
    self._store = (store.Writer if writable else store.Store)(directory)
    self._store.check_files()
    self._capacity = capacity
    self._prioritize_ends = prioritize_ends
    self._update()

  @property
  def total_steps(self):
    """Agent steps ever appended, whatever the capacity."""
    return self._store.total_steps

  @property
  def total_episodes(self):
    """Episodes ever appended, whatever the capacity."""
    entries = self._store.episodes
    return entries[-1]['id'] + 1 if entries else 0

  def append(self, episode):
    """Writes a complete episode and adds it; see `store.Writer.append`."""
    self._store.append(episode)
    self._update()

  @property
  def first_shard(self):
    """Number of the first shard with an episode within the capacity."""
    return self._entries[0]['shard'] if self._entries else 0

  def drop_before(self, shard):
    """Deletes the shards before this one, but none to sample from."""
    self._store.drop_before(min(shard, self.first_shard))

  def cut(self, count):
    """Forgets all but the first `count` of the episodes ever appended."""
    ids = {
        entry['id'] for entry in self._store.episodes if entry['id'] >= count}
    if ids:
      self.close()
      store.remove(self._store.directory, ids)
      self._store = store.Writer(self._store.directory)
      self._update()

  def close(self):
    """Lets another process append, if this one could."""
    if isinstance(self._store, store.Writer):
      self._store.close()

  def sample(self, batch, length, rng, beside=None):
    """Draws sequences: uniform episode, then uniform start.

    Args:
      batch: number B of sequences.
      length: rows L of each; shorter episodes are skipped.
      rng: NumPy Generator, the only source of randomness.
      beside: function that gives further arrays [B, L, ...] by name. Its
        arguments are the number of the first row of each sequence, counted
        through all episodes to sample from, and L.

    Returns:
      Dict of [B, L, ...] arrays under `episodes.KEYS` and the names of
      `beside`; is_first is set in the first row of each sequence.

    Raises:
      TooShort: no episode has L rows.
      ValueError: rows are missing on disk.
    """
    usable = np.flatnonzero(self._rows >= length)
    if not len(usable):
      raise TooShort(
          f'{self._store.directory}: no episode of {length} rows to sample '
          f'from; {len(self._rows)} episodes, the longest has '
          f'{self._rows.max(initial=0)} rows; lower dataset.length')
    chosen = usable[rng.integers(len(usable), size=batch)]
    last = self._rows[chosen] - length
    # Clipping a range that is too wide by L gives the last start the
    # probability that the final rows miss.
    extra = length if self._prioritize_ends else 0
    starts = np.minimum(rng.integers(last + 1 + extra), last)
    sequences = self._store.gather(
        [self._entries[index] for index in chosen], starts, length)
    sequences['is_first'][:, 0] = True
    if beside:
      sequences.update(beside(self._firsts[chosen] + starts, length))
    return sequences

  def images(self, size):
    """Yields the images of all rows in order, `size` at a time.

    The last are perhaps fewer.

    Raises:
      ValueError: rows are missing on disk.
    """
    parts, room = [], size
    for entry in self._entries:
      start = 0
      while start < entry['rows']:
        count = min(room, entry['rows'] - start)
        parts.append(self._store.gather(
            [entry], [start], count, ['image'])['image'][0])
        start, room = start + count, room - count
        if not room:
          yield np.concatenate(parts)
          parts, room = [], size
    if parts:
      yield np.concatenate(parts)

  def dataset(
      self, batch, length, seed, start=0, prefetch=0, beside=None,
      errors=None):
    """Endless `tf.data.Dataset` of samples.

    Element i is drawn with the random numbers of (seed, i) for i = start,
    start + 1, ..., so a resumed run continues the same stream.

    Args:
      batch: number B of sequences.
      length: rows L of each.
      seed: non-negative integer.
      start: index i of the first element.
      prefetch: samples drawn ahead of time. With 0 each is drawn when it is
        asked for, as a store that grows needs for results that do not
        depend on timing.
      beside: as for `sample`.
      errors: list for what a draw raises, of which TensorFlow gives its own
        errors.
    """
    import tensorflow as tf  # Tools that only read episodes stay light.
    def generate():
      for index in itertools.count(start):
        rng = np.random.default_rng([seed, index])
        try:
          yield self.sample(batch, length, rng, beside)
        except Exception as error:
          if errors is not None:
            errors.append(error)
          raise
    example = self.sample(batch, length, np.random.default_rng(0), beside)
    signature = {
        key: tf.TensorSpec(value.shape, value.dtype)
        for key, value in example.items()}
    dataset = tf.data.Dataset.from_generator(
        generate, output_signature=signature)
    if prefetch:
      dataset = dataset.prefetch(prefetch)
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)

  @property
  def stats(self):
    """Numbers of episodes and agent steps in memory and their returns."""
    counts = {'episodes': len(self._entries), 'steps': self.steps}
    if not self._entries:
      return counts
    returns = [entry['return'] for entry in self._entries]
    statistics = episodes.return_statistics(returns)
    return {
        **counts, **{f'return_{k}': v for k, v in statistics.items()}}

  def _update(self):
    """Finds the newest episodes that are within the capacity."""
    entries = self._store.episodes  # Oldest first.
    rows = np.array([entry['rows'] for entry in entries], np.int64)
    first = 0
    if self._capacity and entries:
      since = np.cumsum(rows[::-1] - 1)[::-1]
      first = min(np.count_nonzero(since > self._capacity), len(rows) - 1)
    self._entries, self._rows = entries[first:], rows[first:]
    self._firsts = np.cumsum(self._rows) - self._rows
    self.rows = int(np.sum(self._rows))
    self.steps = self.rows - len(self._rows)  # Agent steps of these.
