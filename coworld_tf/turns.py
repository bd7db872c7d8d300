"""A source that acts and learns, in turns or both at once.

With train_every 5, updates are due after agent steps 5, 10 and so on:

    agent steps     1 to 5     6 to 10    11 to 15
    update                     1          2          3
    acts with       agent 0    agent 1    agent 2      in turns
                    agent 0    agent 0    agent 1      overlap

Overlapping, an update is made by another thread during the agent steps that
follow it, and the agent acts as it was before. Its batch is drawn before it
begins, and it must end before the next is due and where the episode does: an
episode begins with the newest agent. So nothing depends on what is faster,
and checkpoints, which stand where no episode runs, need no second agent. The
first update of a block, which may be traced, is not left to the thread (see
threads.py), but the agent acts as it was before that too.
"""

from concurrent import futures

from coworld_tf import threads


class Turns:
  """Agent steps and updates of a source."""

  def __init__(self, trainer, collector, train, batches, counters):
    """Prepares them; close it in the end.

    Args:
      trainer: trainer.Trainer, which makes and logs the updates.
      collector: collector.Collector of the source.
      train: function of batches that makes an update.
      batches: iterator over the tuples of batches of each update.
      counters: variables that count agent steps, as updates see them.
    """
    self._trainer, self._collector = trainer, collector
    self._train, self._batches = train, batches
    self._counters, self._steps = counters, 0
    self._pool, self._running = futures.ThreadPoolExecutor(1), None
    self._compiled = trainer.config.compile != 'eager'
    self._traced = False

  def update(self):
    """Makes an update alone."""
    self._log(self._make(*next(self._batches)))

  def act(self):
    """Makes an agent step."""
    with self._trainer.shares('environment'):
      self._collector.collect()
    self._steps += 1

  def learn(self):
    """Makes an update, or begins it if it may overlap with acting."""
    self.join()
    if not self._collector.twin:
      return self.update()
    self._collector.twin.follow()
    self._running = threads.submit(
        self._pool, self._make, *next(self._batches), beside=self._traced)

  def join(self):
    """Waits for the update that is being made; then steps are counted."""
    running, self._running = self._running, None
    if running:
      metrics = running.result()
      self._log(metrics)
      # Of a batch that was left out nothing else is known.
      self._traced |= len(metrics) > 1 and self._compiled
    for counter in self._counters:
      counter.assign_add(self._steps)
    self._steps = 0

  def close(self):
    """Waits for what is being made, whatever comes of it."""
    self._pool.shutdown()

  def _make(self, *batches):
    return self._trainer.make(self._collector.name, self._train, *batches)

  def _log(self, metrics):
    self._trainer.log(self._collector.name, metrics)
