"""Regular events in a loop."""


class Every:
  """True on the first call at or beyond each multiple of `period`."""

  def __init__(self, period, last=0):
    """Args: period in steps, 0 for never; last step already served."""
    self.period = period
    self.last = last

  def __call__(self, step):
    """Whether a multiple of the period lies in (last, step]."""
    if not self.period or step // self.period <= self.last // self.period:
      return False
    self.last = step
    return True
