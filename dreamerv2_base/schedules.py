"""Values that change with a step variable, written as strings in configs."""

import re

import tensorflow as tf


def schedule(text, step):
  """Evaluates a schedule at a step, which may be a tensor or a variable.

  Args:
    text: a number, `linear(start,end,duration)`, `warmup(duration,value)`,
      `exp(start,end,halflife)` or `horizon(start,end,duration)`, the last
      being the discount factor of a linearly changing horizon.
    step: scalar step.

  Raises:
    ValueError: the text has none of these forms.
  """
  try:
    return tf.constant(_finite(text))
  except ValueError:
    match = re.fullmatch(r'(\w+)\(([^()]*)\)', str(text).replace(' ', ''))
  kind, args = match.groups() if match else ('', '')
  try:
    args = [_finite(arg) for arg in args.split(',') if arg]
    if min(args[:1] if kind == 'warmup' else args[-1:]) <= 0:
      raise ValueError(args)  # No duration.
    step = tf.cast(step, tf.float32)
    if kind == 'linear':
      start, end, duration = args
      return _blend(start, end, step / duration)
    if kind == 'warmup':
      duration, value = args
      return _blend(0.0, value, step / duration)
    if kind == 'exp':
      start, end, halflife = args
      return (start - end) * 0.5 ** (step / halflife) + end
    if kind == 'horizon':
      start, end, duration = args
      return 1 - 1 / _blend(start, end, step / duration)
  except ValueError:
    pass
  raise ValueError(
      f"not a schedule: '{text}'; use a number, linear(start,end,duration), "
      'warmup(duration,value), exp(start,end,halflife) or '
      'horizon(start,end,duration)')


def _finite(text):
  value = float(text)
  if not abs(value) < 1e30:  # Nor NaN.
    raise ValueError(text)
  return value


def _blend(start, end, share):
  share = tf.clip_by_value(share, 0.0, 1.0)
  return (1 - share) * start + share * end
