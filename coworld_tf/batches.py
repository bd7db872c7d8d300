"""Batches of a run, which continue their streams of random numbers."""

import time

import tensorflow as tf

from coworld_tf import cli, seeds


class Batches:
  """Draws batches as the configuration says and measures the waiting."""

  def __init__(self, config):
    """Takes the configuration, see configs/defaults.yaml."""
    self.config = config
    self.waited = 0.0  # Seconds for batches.

  def source(self, collector):
    """Yields batches of what a collector.Collector collects."""
    return self(
        collector.replay, collector.agent.updates, 0, seeds.SOURCE_DATA,
        collector.index)

  def __call__(
      self, replay, start, prefetch, *stream, batch=0, beside=None):
    """Yields batches from the given one on.

    Args:
      replay: replay.Replay to draw from.
      start: index of the first batch, read when that is asked for.
      prefetch: batches drawn ahead of time, 0 for a replay that grows.
      *stream: as for `seeds.make`.
      batch: sequences of each, 0 for as many as configured.
      beside: as for `replay.Replay.sample`.

    Raises:
      cli.Fault: files have vanished or cannot be read any more.
    """
    dataset, errors = self.config.dataset, []
    batches = iter(replay.dataset(
        batch or dataset.batch, dataset.length,
        seeds.make(self.config.seed, *stream), int(start), prefetch,
        beside, errors))
    while True:
      begin = time.time()
      try:
        found = next(batches)
      except tf.errors.OpError:
        if not errors:
          raise
        if isinstance(errors[0], (OSError, ValueError)):
          raise unreadable(errors[0]) from None
        raise errors[0] from None
      self.waited += time.time() - begin
      yield found


def unreadable(error):
  """Returns the end of a run whose data could not be read."""
  return cli.Fault(
      f'a batch cannot be read: {error}; the same command continues once the '
      'files are as they were')
