"""Fixtures for all tests. TensorFlow stays out: simulator tests load this."""

import pathlib

import numpy as np
import pytest

from dreamerv2_base import flags

CONFIGS = pathlib.Path(__file__).parents[1] / 'configs'
# Vectors instead of images, because convolutions are slow to trace. Without
# free nats every variable has a gradient.
TINY = {
    'encoder.cnn_keys': '$^', 'encoder.mlp_keys': 'vector',
    'encoder.mlp_layers': [8], 'decoder.cnn_keys': '$^',
    'decoder.mlp_keys': 'vector', 'decoder.mlp_layers': [8],
    'rssm.stoch': 3, 'kl.free': 0.0}


@pytest.fixture(scope='session')
def slope():
  """Central differences of a scalar function at a float64 array."""
  def differentiate(function, x, step=1e-5):
    grad = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
      shift = np.zeros(x.shape)
      shift[index] = step
      rise = float(function(x + shift)) - float(function(x - shift))
      grad[index] = rise / (2 * step)
    return grad
  return differentiate


@pytest.fixture(scope='session')
def make_config():
  """Makes tiny configurations, `make_config({'rssm.deter': 4})`."""
  def make(override=None, base=TINY):
    argv = ['--configs', 'debug']
    for key, value in {**base, **(override or {})}.items():
      values = value if isinstance(value, list) else [value]
      argv += [f'--{key}', *map(str, values)]
    return flags.parse(argv, CONFIGS)
  return make


@pytest.fixture(scope='session')
def make_batch():
  """Makes random sequences [B, L, ...], the last row of one terminal."""
  def make(action=2, seed=0, batch=2, length=3, image=False):
    rng = np.random.default_rng(seed)
    flags = np.zeros([3, batch, length], bool)
    flags[0, :, 0] = flags[1, 0, -1] = flags[2, 0, -1] = True
    data = {
        'action': rng.uniform(-1, 1, [batch, length, action]).astype('f4'),
        'reward': rng.normal(size=[batch, length]).astype('f4'),
        'is_first': flags[0], 'is_last': flags[1], 'is_terminal': flags[2]}
    if image:
      data['image'] = rng.integers(0, 256, [batch, length, 64, 64, 3], 'u1')
    else:
      data['vector'] = rng.normal(size=[batch, length, 5]).astype('f4')
    return data
  return make
