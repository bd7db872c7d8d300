"""Actions of the target domain for the source agent's dynamics.

Stage B filters target sequences with the source's world model, so that model
must take target actions. With source size S and target size T:

    pad_max    source agent of size max(S, T); unused dimensions are zero in
               its data, in its actions and in imagination
    slice      source agent of size S; target actions cut or padded to S
    semantic   source agent of size S; the given dimensions of the target's
    zero       source agent of size S; target actions are not shown to it

Choices, which are one-hot vectors, have no meaningful cut or padding: with any
mode but `zero` they must be as many in both domains.
"""

import gymnasium
import numpy as np
import tensorflow as tf

from envs import driver


def source_space(mode, source, target, index=()):
  """Returns the action space of the source agent.

  Args:
    mode: as above.
    source: action space of the source simulator, Box or Discrete.
    target: action space of the target, Box or Discrete.
    index: dimensions that `semantic` keeps.

  Raises:
    ValueError: as `source_size` does, or choices do not correspond.
  """
  size = source_size(
      mode, driver.action_size(source), driver.action_size(target), index)
  choices = any(map(driver.is_discrete, (source, target)))
  if choices and source != target and mode != 'zero':
    raise ValueError(
        f'coworld.action_adapter: {mode} cannot map the actions {target} of '
        f'the target to {source} of the source; use zero or other tasks')
  return source if driver.is_discrete(source) else padded(source, size)


def padded(space, size):
  """Returns a Box with unused dimensions, whose bounds are zero, added."""
  pad = np.zeros(size - space.shape[0], np.float32)
  return gymnasium.spaces.Box(
      np.concatenate([space.low, pad]), np.concatenate([space.high, pad]))


def source_size(mode, source, target, index=()):
  """Returns the action size of the source agent.

  Args:
    mode: as above.
    source: action size of the source simulator.
    target: action size of the target's data.
    index: dimensions that `semantic` keeps.

  Raises:
    ValueError: the mode is unknown, or it is `semantic` and the index does
      not have one valid entry for each source action.
  """
  modes = 'pad_max', 'slice', 'semantic', 'zero'
  if mode not in modes:
    raise ValueError(
        f"coworld.action_adapter: '{mode}', use one of {', '.join(modes)}")
  if mode == 'semantic' and not (
      len(index) == source and set(index) <= set(range(target))):
    raise ValueError(
        f'coworld.semantic_index: {list(index)} must name {source} of the '
        f'{target} target dimensions, counted from 0')
  return max(source, target) if mode == 'pad_max' else source


def adapt(action, size, mode, index=()):
  """Maps target actions [..., T] to actions [..., size] of the source agent.

  Args:
    action: target actions.
    size: action size of the source agent.
    mode: as above.
    index: dimensions that `semantic` keeps, as `source_size` checks.
  """
  if mode == 'zero':
    return tf.zeros([*action.shape[:-1], size], action.dtype)
  if mode == 'semantic':
    return tf.gather(action, list(index), axis=-1)
  action = action[..., :size]
  missing = size - action.shape[-1]
  return tf.pad(action, [[0, 0]] * (action.shape.rank - 1) + [[0, missing]])


class PaddedActions:
  """A simulator with unused action dimensions, whose bounds are zero."""

  def __init__(self, env, size):
    self.env = env
    self.obs_space = env.obs_space
    space = env.act_space['action']
    self.used = space.shape[0]
    self.act_space = {'action': padded(space, size)}

  def reset(self, seed=None, blocking=True):
    """Starts an episode, as the simulator does."""
    return self.env.reset(seed, blocking=blocking)

  def step(self, action, blocking=True):
    """Steps the simulator with the used dimensions."""
    used = {'action': action['action'][:self.used]}
    return self.env.step(used, blocking=blocking)

  def close(self):
    """Closes the simulator."""
    self.env.close()


class PaddedReplay:
  """The data of a domain with unused action dimensions, which are zero."""

  def __init__(self, replay, size):
    self.replay, self.size = replay, size

  @property
  def stats(self):
    """Numbers of episodes and agent steps in memory and their returns."""
    return self.replay.stats

  def sample(self, batch, length, rng):
    """Draws sequences, as the replay does."""
    sequences = self.replay.sample(batch, length, rng)
    action = sequences['action']
    missing = self.size - action.shape[-1]
    return {**sequences, 'action': np.pad(
        action, [(0, 0), (0, 0), (0, missing)])}

  def dataset(self, *args, **kwargs):
    """Endless `tf.data.Dataset` of samples, as the replay's."""
    return self.replay.dataset(*args, **kwargs).map(
        lambda batch: {**batch, 'action': adapt(
            batch['action'], self.size, 'pad_max')})
