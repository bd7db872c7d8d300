"""Progress of long loops: a bar on a terminal, otherwise a line at times."""

import logging
import sys
import time

import tqdm

INTERVAL = 10.0  # Seconds between plain lines.


class Progress:
  """Shows label, count, rate and time left of a loop with known length."""

  def __init__(self, total, label, initial=0):
    """Starts the clock.

    Args:
      total: Number of steps of the whole loop.
      label: What is being done, for example 'source 3/11'.
      initial: Steps already done, by an interrupted run.
    """
    self._total, self._label = total, label
    self._initial = self._done = initial
    self._start = self._shown = time.monotonic()
    self._note = ''
    self._bar = None
    if sys.stderr.isatty():
      self._bar = tqdm.tqdm(
          total=total, desc=label, initial=initial, unit='step',
          dynamic_ncols=True, mininterval=0.5)

  def update(self, steps=1):
    """Counts further steps."""
    self._done += steps
    if self._bar is not None:
      self._bar.update(steps)
    elif time.monotonic() - self._shown >= INTERVAL:
      self._shown = time.monotonic()
      logging.getLogger('coworld').info(self.line())

  def note(self, text):
    """Sets a short text behind the numbers, for example the last loss."""
    self._note = text
    if self._bar is not None:
      self._bar.set_postfix_str(text, refresh=False)

  def line(self):
    """'source 3/11: 1200/5000 steps, 9.8/s, 6m20s left'."""
    seconds = max(time.monotonic() - self._start, 1e-6)
    rate = (self._done - self._initial) / seconds
    parts = [f'{self._label}: {self._done}/{self._total} steps']
    if rate:
      left = max(self._total - self._done, 0) / rate
      parts += [f'{rate:.3g}/s', f'{duration(left)} left']
    return ', '.join(parts + [self._note] * bool(self._note))

  def close(self):
    """Leaves the bar as it is; further messages go below it."""
    if self._bar is not None:
      self._bar.close()


def duration(seconds):
  """Two units are enough: '45s', '6m20s', '3h05m'."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}h{minutes:02d}m'
  return f'{minutes}m{seconds:02d}s' if minutes else f'{seconds}s'
