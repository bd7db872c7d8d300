"""Store of episodes, on disk and in memory, that gives training sequences."""

import collections
import itertools
import logging
import pathlib
import time

import numpy as np
import tqdm

from dreamerv2_base import episodes

_logger = logging.getLogger(__name__)


class Replay:
  """All episodes of one directory; grows by `append`, read by `sample`."""

  def __init__(self, directory, capacity=0, prioritize_ends=False):
    """Reads the episodes.

    Offline datasets and the replay of an online agent are the same store.

    Args:
      directory: existing folder of the episode files, which may be empty;
        new ones are written there.
      capacity: agent steps to keep in memory, 0 for all. The oldest episodes
        leave memory first and at least one stays; files are never deleted.
      prioritize_ends: whether the last rows of an episode are sampled as
        often as those in the middle, at the expense of uniform start
        positions.

    Raises:
      FileNotFoundError: the directory does not exist.
      ValueError: an episode is damaged or its shapes differ from the others.
    """
    self._directory = pathlib.Path(directory)
    self._capacity = capacity
    self._prioritize_ends = prioritize_ends
    self._episodes = collections.deque()  # Oldest first.
    self.steps = 0  # Agent steps in memory.
    self.total_steps = 0  # Agent steps on disk, whatever the capacity.
    self._shapes = None
    self._load()

  def append(self, episode):
    """Saves a complete episode and adds it; returns the path of its file."""
    episode = episodes.checked(episode)
    self._check_shapes(episode, 'episode')
    path = episodes.save_episode(self._directory, episode)
    self._episodes.append(episode)
    self.steps += _steps(episode)
    self.total_steps += _steps(episode)
    while self._full(0) and len(self._episodes) > 1:
      self.steps -= _steps(self._episodes.popleft())
    return path

  def sample(self, batch, length, rng):
    """Draws sequences: uniform episode, then uniform start.

    Args:
      batch: number B of sequences.
      length: rows L of each; shorter episodes are skipped.
      rng: NumPy Generator, the only source of randomness.

    Returns:
      Dict of [B, L, ...] arrays under `episodes.KEYS`; is_first is set in
      the first row of each sequence.

    Raises:
      ValueError: no episode has L rows.
    """
    usable = [ep for ep in self._episodes if len(ep['reward']) >= length]
    if not usable:
      longest = max((len(ep['reward']) for ep in self._episodes), default=0)
      raise ValueError(
          f'{self._directory}: no episode of {length} rows to sample from; '
          f'{len(self._episodes)} episodes, the longest has {longest} rows')
    chosen = [usable[index] for index in rng.integers(len(usable), size=batch)]
    last = np.array([len(ep['reward']) - length for ep in chosen])
    # Clipping a range that is too wide by L gives the last start the
    # probability that the final rows miss.
    extra = length if self._prioritize_ends else 0
    starts = np.minimum(rng.integers(last + 1 + extra), last)
    sequences = {
        key: np.stack([
            ep[key][start: start + length]
            for ep, start in zip(chosen, starts, strict=True)])
        for key in episodes.KEYS}
    sequences['is_first'][:, 0] = True
    return sequences

  def dataset(self, batch, length, seed, start=0, prefetch=0):
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
    """
    import tensorflow as tf  # Tools that only read episodes stay light.
    def generate():
      for index in itertools.count(start):
        rng = np.random.default_rng([seed, index])
        yield self.sample(batch, length, rng)
    example = self.sample(batch, length, np.random.default_rng(0))
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
    counts = {'episodes': len(self._episodes), 'steps': self.steps}
    if not self._episodes:
      return counts
    returns = [episodes.episode_return(ep) for ep in self._episodes]
    statistics = episodes.return_statistics(returns)
    return {
        **counts, **{f'return_{k}': v for k, v in statistics.items()}}

  def _load(self):
    begin = time.time()
    # Newest first, because these are the ones that stay. `None` shows the
    # bar on terminals only.
    paths = episodes.find_episodes(self._directory)[::-1]
    for path in tqdm.tqdm(paths, 'Load episodes', delay=2, disable=None):
      episode = episodes.load_episode(path)
      if self._episodes and self._full(_steps(episode)):
        break
      self._check_shapes(episode, path)
      self._episodes.appendleft(episode)
      self.steps += _steps(episode)
    others = paths[len(self._episodes):]
    self.total_steps = self.steps + sum(map(episodes.stored_steps, others))
    if time.time() - begin > 2:
      _logger.info(
          'Loaded %d episodes, %d steps, from %s',
          len(self._episodes), self.steps, self._directory)

  def _full(self, steps):
    return 0 < self._capacity < self.steps + steps

  def _check_shapes(self, episode, name):
    shapes = {key: episode[key].shape[1:] for key in ('image', 'action')}
    self._shapes = self._shapes or shapes
    for key, expected in self._shapes.items():
      if shapes[key] != expected:
        raise ValueError(
            f'{name}: {key} rows have shape {list(shapes[key])}, those of '
            f'the other episodes in {self._directory} {list(expected)}')


def _steps(episode):
  return len(episode['reward']) - 1
