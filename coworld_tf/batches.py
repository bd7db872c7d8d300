"""Batches of a run, which continue their streams of random numbers."""

import builtins
import re

import tensorflow as tf

from coworld_tf import cli, seeds

# What TensorFlow makes of an exception of Python.
CAUSE = re.compile(r'(\w*Error): (.*)')


class Batches:
  """Draws batches as the configuration says."""

  def __init__(self, config, shares):
    """Prepares drawing.

    Args:
      config: configuration, see configs/defaults.yaml.
      shares: shares.Shares, which is told of the waiting.
    """
    self.config, self.shares = config, shares

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

    Raises:
      cli.Fault: files have vanished or cannot be read any more.
    """
    dataset = self.config.dataset
    with self.shares('data'):
      batches = iter(replay.dataset(
          batch or dataset.batch, dataset.length,
          seeds.make(self.config.seed, *stream), int(start), prefetch))
    while True:
      try:
        with self.shares('data'):
          found = next(batches)
      except tf.errors.OpError as error:
        cause = CAUSE.search(error.message)
        if not cause or not issubclass(
            getattr(builtins, cause[1], Exception), (OSError, ValueError)):
          raise
        raise cli.Fault(
            f'a batch cannot be read: {cause[2]}; the same command continues '
            'once the files are as they were') from None
      yield found
