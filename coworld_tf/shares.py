"""Shares of time: what a run does while it does not learn."""

import contextlib
import threading
import time

UPDATE = 'update'
OTHER = 'other'
KINDS = UPDATE, 'data', 'environment', 'evaluation', 'checkpoint', OTHER


class Shares:
  """Divides the seconds of a run by what it does and by phase.

  Every second belongs to one kind. An update counts wherever it is made and
  whatever else is done meanwhile; of other kinds the innermost one does.
  """

  def __init__(self, phases=()):
    """Starts the clock; takes the names of all phases."""
    # Phase -> kind -> seconds, of blocks that are over.
    self.phases = {phase: dict.fromkeys(KINDS, 0.0) for phase in phases}
    self.block = dict.fromkeys(KINDS, 0.0)  # Seconds since then.
    self._active = [OTHER]
    self._since = time.perf_counter()
    self._lock = threading.Lock()  # Updates may be made by another thread.

  @contextlib.contextmanager
  def __call__(self, kind):
    """Within it, the time belongs to a kind."""
    with self._lock:
      self._count()
      self._active.append(kind)
    try:
      yield
    finally:
      with self._lock:
        self._count()
        self._active.remove(kind)

  def finish(self, phase):
    """Adds what passed since the last time to a phase.

    Returns:
      The shares of that, by kind, and its seconds.
    """
    with self._lock:
      self._count()
    for kind, seconds in self.block.items():
      self.phases[phase][kind] += seconds
    found, self.block = self.block, dict.fromkeys(KINDS, 0.0)
    return fractions(found), sum(found.values())

  def facts(self):
    """Returns the seconds so far, for checkpoints."""
    with self._lock:
      self._count()
    return {'phases': self.phases, 'block': self.block}

  def resume(self, facts):
    """Goes on with the seconds of a checkpoint, which are like `facts`."""
    self.phases = {phase: facts['phases'][phase] for phase in self.phases}
    self.block = {kind: facts['block'][kind] for kind in KINDS}

  def summary(self):
    """Returns phase -> seconds in all and the share of each kind."""
    return {
        phase: {'seconds': round(sum(seconds.values()), 1), **{
            kind: round(x, 4) for kind, x in fractions(seconds).items()}}
        for phase, seconds in self.phases.items() if any(seconds.values())}

  def _count(self):
    now = time.perf_counter()
    kind = UPDATE if UPDATE in self._active else self._active[-1]
    self.block[kind] += now - self._since
    self._since = now


def fractions(seconds):
  """Divides seconds by kind by their sum."""
  total = sum(seconds.values()) or 1.0
  return {kind: x / total for kind, x in seconds.items()}


def line(found):
  """Returns shares as text, the largest first; without what rounds to 0."""
  texts = {kind: f'{100 * x:.1f}' for kind, x in found.items()}
  return ', '.join(
      f'{texts[kind]} % {kind}' for kind in sorted(found, key=found.get)[::-1]
      if texts[kind] != '0.0')
