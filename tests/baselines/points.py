"""A world of points that are pushed along a line, many at a time."""

import gymnasium
import numpy as np
import tensorflow as tf

OBS_SPACE = {'vector': gymnasium.spaces.Box(-1, 1, (4,), np.float32)}
ACT_SPACE = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
# An agent that learns this world in some hundred updates.
SETTINGS = {
    'compile': 'graph', 'encoder.cnn_keys': '$^', 'encoder.mlp_keys': 'vector',
    'encoder.mlp_layers': [16], 'decoder.cnn_keys': '$^',
    'decoder.mlp_keys': 'vector', 'decoder.mlp_layers': [16],
    'rssm.deter': 16, 'rssm.hidden': 16, 'kl.free': 0.0,
    'reward_head.units': 16, 'actor.units': 16, 'critic.units': 16,
    'actor_opt.lr': 3e-3, 'critic_opt.lr': 3e-3, 'discount': 0.9}


class World:
  """Rewards are high near the goal; the sign turns the observations."""

  def __init__(self, goal=0.5, sign=1):
    self.goal, self.sign = goal, sign

  def play(self, count, seed, policy=None, length=8):
    """Plays episodes [N, L, ...], at random without a policy."""
    rng = np.random.default_rng(seed)
    x, state, rows = rng.uniform(-1, 1, count), None, []
    action = np.zeros([count, 1])
    for index in range(length):
      view = [x, x ** 2, np.sin(3 * x), np.cos(3 * x)]
      reward = 1 - np.abs(x - self.goal) if index else 0 * x
      no = np.zeros(count, bool)
      row = {
          'vector': self.sign * np.stack(view, -1).astype('f4'),
          'reward': reward.astype('f4'), 'is_first': no | (index == 0),
          'is_last': no, 'is_terminal': no}
      rows.append({**row, 'action': action.astype('f4')})
      action = rng.uniform(-1, 1, [count, 1])
      if policy:
        outs, state = policy(row, state)
        action = outs['action']
      x = np.clip(x + 0.5 * action[:, 0], -1, 1)
    return {
        key: np.stack([row[key] for row in rows], 1) for key in rows[0]}


def batches(episodes, seed, size=16):
  """Yields random batches of episodes."""
  rng = np.random.default_rng(seed)
  count = len(episodes['reward'])
  while True:
    index = rng.integers(count, size=size)
    yield {key: tf.constant(x[index]) for key, x in episodes.items()}


def train(step, data, updates):
  """Makes updates with the next batches."""
  for _ in range(updates):
    step(next(data))


def values(module):
  """All variables of a module as arrays."""
  return [x.numpy() for x in module.variables]


def assign(module, arrays):
  """The inverse of `values`."""
  for var, value in zip(module.variables, arrays, strict=True):
    var.assign(value)
