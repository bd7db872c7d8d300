"""Whether actions lie on the row that they led to, as told by the images.

Three frames in a row show an acceleration, and with it something of the
action that led to the last of them and of those before. They show nothing of
the action to come, unless a policy chose it by what it saw:

  frames        x0   x1   x2   x3
  actions       a0   a1   a2   a3      a3 led from x2 to x3
  seen in x2    a0   a1   a2           and in data of a policy a3 as well

If the action of the row before is seen and that of the row itself is not,
all actions lie one row too early.
"""

import numpy as np

from coworld_tf.datasets import convert

RIGHT, WRONG, UNKNOWN = 'right', 'one row too early', 'cannot be told'

_ROWS = 6000  # Enough for the fit.
_PIXELS = 16
_COMPONENTS = 32
# In standard errors of a correlation that is zero.
_SEEN, _UNSEEN = 6, 4


def alignment(episodes):
  """Compares how well images tell the action of each row and its neighbours.

  Args:
    episodes: iterable of dicts with image and action; read until there are
      enough rows.

  Returns:
    `RIGHT`, `WRONG` or `UNKNOWN`, and how clearly the actions one row
    earlier (-1), in the row (0) and one row later (1) are seen in episodes
    that the fit did not see: the largest correlation of any dimension, in
    standard errors. This is None if there is too little to fit.
  """
  changes, actions, count = [], [], 0
  for episode in episodes:
    if len(episode['action']) < 5 or min(
        episode['image'].shape[1:3]) < _PIXELS:
      continue
    frames = convert.shrink(episode['image'], _PIXELS).mean(-1)
    changes.append(np.diff(frames.reshape(len(frames), -1), axis=0))
    actions.append(episode['action'].astype(np.float64))
    count += len(frames)
    if count >= _ROWS:
      break
  if len(actions) < 2 or not np.concatenate(changes).any():
    return UNKNOWN, None
  seen = _seen(changes, actions)
  if seen[-1] > _SEEN and max(seen[0], seen[1]) < _UNSEEN:
    return WRONG, seen
  if seen[0] > _SEEN and seen[1] < _UNSEEN:
    return RIGHT, seen
  return UNKNOWN, seen


def _seen(changes, actions):
  """Clearness of the actions at each shift, {-1: number, 0: ..., 1: ...}."""
  together = np.concatenate(changes)
  _, axes = np.linalg.eigh(together.T @ together)
  axes = axes[:, -_COMPONENTS:]
  scale = (together @ axes).std(0) + 1e-8
  inputs = []
  for change in changes:
    parts = change @ axes / scale
    # Of rows 2 to N - 2: all shifts of them exist.
    inputs.append(np.concatenate([parts[1:-1], parts[:-2]], 1))
  result = {}
  for shift in (-1, 0, 1):
    outputs = [x[2 + shift: len(x) - 1 + shift] for x in actions]
    # Episodes take turns, so that both halves hold all stages of a learner.
    halves = [
        (np.concatenate(inputs[half::2]), np.concatenate(outputs[half::2]))
        for half in (0, 1)]
    clear = _clearness(*halves) + _clearness(*halves[::-1])
    result[shift] = float((clear / np.sqrt(2)).max())
  return result


def _clearness(known, new):
  """[A] correlation of predicted and true actions in standard errors."""
  inputs, outputs = known
  penalty = len(inputs) * np.eye(inputs.shape[1])
  weights = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ outputs)
  guess, truth = new[0] @ weights, new[1]
  guess, truth = guess - guess.mean(0), truth - truth.mean(0)
  norms = np.linalg.norm(guess, axis=0) * np.linalg.norm(truth, axis=0)
  return (guess * truth).sum(0) / (norms + 1e-12) * np.sqrt(len(truth))
