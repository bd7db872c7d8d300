"""Progress of long loops: a bar on a terminal, otherwise a line at times."""

import logging
import sys
import time

import tqdm

_logger = logging.getLogger(__name__)

INTERVAL = 10.0  # Seconds between plain lines.


class Progress:
  """Shows label, count, rate and time left of a loop with known length."""

  def __init__(self, total, label, initial=0, unit='update'):
    """Starts the clock.

    Args:
      total: number of units of the whole loop.
      label: what is being done, for example 'source 3/11'.
      initial: units already done, by an interrupted run.
      unit: what is counted, in the singular.
    """
    self._total, self._label, self._unit = total, label, unit
    self._initial = self._done = min(initial, total)
    self._start = self._shown = time.monotonic()
    self._bar = None
    if sys.stderr.isatty():
      self._bar = tqdm.tqdm(
          total=total, desc=label, initial=self._initial, unit=f' {unit}s',
          dynamic_ncols=True, mininterval=0.5)

  def update(self, count=1):
    """Counts further units, of which those past the total are not shown."""
    count = min(count, self._total - self._done)
    self._done += count
    if self._bar is not None:
      self._bar.update(count)
    elif time.monotonic() - self._shown >= INTERVAL:
      self._shown = time.monotonic()
      _logger.info(self.line())

  def line(self):
    """'source 3/11: 1200/5000 updates, 9.8/s, 6m20s left'."""
    seconds = max(time.monotonic() - self._start, 1e-6)
    rate = (self._done - self._initial) / seconds
    parts = [f'{self._label}: {self._done}/{self._total} {self._unit}s']
    if rate:
      left = (self._total - self._done) / rate
      parts += [f'{rate:.3g}/s', f'{duration(left)} left']
    return ', '.join(parts)

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
