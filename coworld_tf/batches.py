"""Batches of a run, which continue their streams of random numbers."""

import time

from coworld_tf import seeds


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

  def __call__(self, replay, start, prefetch, *stream, batch=0):
    """Yields batches from the given one on.

    Args:
      replay: replay.Replay to draw from.
      start: index of the first batch, read when that is asked for.
      prefetch: batches drawn ahead of time, 0 for a replay that grows.
      *stream: as for `seeds.make`.
      batch: sequences of each, 0 for as many as configured.
    """
    dataset = self.config.dataset
    batches = iter(replay.dataset(
        batch or dataset.batch, dataset.length,
        seeds.make(self.config.seed, *stream), int(start), prefetch))
    while True:
      begin = time.time()
      found = next(batches)
      self.waited += time.time() - begin
      yield found
