"""Lowest and highest value of every number of a configuration.

The highest are far from what anybody needs. They are there so that a slip of
the finger is told at once and not by a machine that runs out of memory.
"""

import re

STEPS = 10 ** 15
ENVS = 256  # Processes with a simulator each.
_WIDTH, _LAYERS, _FLOAT = 2 ** 14, 64, 1e12
_ROWS = 2 ** 17  # Of a batch.
_BLOCKS = 10 ** 5  # Of a schedule.

# Pattern of keys: lowest, highest. The first that fits the whole key counts.
RANGES = {
    r'seed': (0, 2 ** 30 - 1),
    r'log_every|train_every|slow_target_update': (1, STEPS),
    r'schedule\.(.*_blocks|source_pretrain|warmup|rounds)': (0, _BLOCKS),
    r'checkpoint_every|capacity|pretrain|schedule\..*|eta\.steps': (0, STEPS),
    r'align\.cache': (0, STEPS),
    r'simulator_timeout': (1, 10 ** 6),
    r'action_repeat': (1, 1000),
    r'time_limit': (0, 10 ** 9),
    r'size': (8, 480),
    r'dataset\.batch|multi_source\.batches': (1, 2 ** 13),
    r'dataset\.length|imag_horizon': (2, 2 ** 13),
    r'evaluation\.envs': (1, ENVS),
    r'evaluation\..*_episodes|ewc\.sequences': (1, 10 ** 6),
    r'coworld\.k|eta\.final|discount|discount_lambda': (0, 1),
    r'kl\.balance|slow_target_fraction|reward_norm\.momentum': (0, 1),
    r'coworld\.semantic_index': (0, 1000),
    r'rssm\.ensemble': (1, 100),
    r'rssm\.(stoch|deter|hidden)|.*\.units': (1, _WIDTH),
    r'rssm\.discrete': (0, _WIDTH),
    r'.*\.mlp_layers': (1, _WIDTH),
    r'.*\.cnn_depth': (1, 1024),
    r'.*\.cnn_kernels': (1, 32),
    r'.*\.layers': (0, _LAYERS),
    r'.*\.(init_std|free)': (-_FLOAT, _FLOAT),
    r'.*_opt\.(lr|wd)': (0, 1),
    r'.*\.(min_std|eps|clip|scale)|(expl|eval)_noise': (0, _FLOAT),
    r'coworld\.(alpha|beta2)|offline_dv2\.penalty': (0, _FLOAT),
    r'ewc\.(weight|floor)|loss_scales\..*': (0, _FLOAT)}


def check_config(flat):
  """Checks the numbers of a configuration.

  Args:
    flat: values by dotted key.

  Raises:
    ValueError: one is out of range, there are too many layers, or a batch
      would be too large; one line names the key.
  """
  for key, value in flat.items():
    values = value if isinstance(value, list) else [value]
    most = 8 if key.endswith('kernels') else _LAYERS
    if len(values) > most:
      raise ValueError(
          f'{key}: {len(values)} values, there may be {most} at most')
    for number in values:
      if type(number) in (int, float):
        low, high = bounds(key)
        if not low <= number <= high:
          raise ValueError(f'{key}: {number} must be from {low} to {high}')
  rows = flat['dataset.batch'] * flat['dataset.length']
  blocks = flat['schedule.rounds'] * (
      flat['schedule.target_blocks'] + flat['schedule.source_blocks'])
  for key, what, count, most in (
      ('dataset.batch', 'rows', rows, _ROWS),
      ('schedule.rounds', 'blocks', blocks, _BLOCKS)):
    if count > most:
      raise ValueError(
          f'{key}: {flat[key]} makes {count} {what}, there may be {most} at '
          'most')


def bounds(key):
  """Returns the lowest and highest value of a key."""
  return next(
      pair for pattern, pair in RANGES.items() if re.fullmatch(pattern, key))


def check(numbers):
  """Checks numbers of a command line.

  Args:
    numbers: {flag: (value, lowest, highest)}.

  Raises:
    ValueError: one is out of range.
  """
  for name, (value, low, high) in numbers.items():
    if not low <= value <= high:
      raise ValueError(f'{name} is {value}: must be from {low} to {high}')
