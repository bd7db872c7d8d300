"""Numbers that both agents get: weights, inputs and noise.

All are drawn by name from NumPy's legacy generator, whose streams never
change, so that outputs can be stored without what went in.
"""

import zlib

import numpy as np


def numbers(name, shape, low=-1.0, high=1.0):
  """Returns float32 numbers that depend on name and shape only."""
  seed = zlib.crc32(f'{name} {tuple(shape)}'.encode())
  values = np.random.RandomState(seed).uniform(low, high, tuple(shape))
  return values.astype(np.float32)


def weight(name, shape):
  """Returns the weight of that name: no bias is zero, no scale is one."""
  if name.endswith('kernel'):
    limit = np.sqrt(3 / np.prod(shape[:-1]))
    return numbers(name, shape, -limit, limit)
  middle = 1.0 if name.endswith('gamma') else 0.0
  return numbers(name, shape, middle - 0.2, middle + 0.2)


def load(variables, values):
  """Gives {name: variable} the values of {name: array}."""
  for name, variable in variables.items():
    variable.assign(values[name])


def uniform(shape):
  """Returns noise in (0, 1), the same for shapes up to leading ones."""
  shape = [int(size) for size in shape]
  core = shape[next((i for i, n in enumerate(shape) if n > 1), len(shape)):]
  return np.broadcast_to(numbers('noise', core, 0.02, 0.98), shape)


def normal(shape):
  """Returns noise that looks like a standard normal's."""
  share = uniform(shape)
  return np.log(share / (1 - share)) / np.float32(1.7)


def head(ensemble):
  """Returns the prior head that is drawn."""
  return min(2, ensemble - 1)
