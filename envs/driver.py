"""Steps environments with a policy and collects complete episodes.

What row t of an episode holds, and where the action goes:

  call       reset     step(a0)  step(a1)  step(a2)
  row        0         1         2         3
  image      o0        o1        o2        o3         the policy reads o[t]
  action     0         a0        a1        a2         and returns a[t], which
  reward     0         r1        r2        r3         is stored in row t + 1
  is_first   True      False     False     False
  is_last    False     False     False     True       then the next reset
"""

import numpy as np


class Driver:
  """Runs a policy in a list of environments, all in lockstep."""

  def __init__(self, envs, on_episode=(), seed=None):
    """Prepares new episodes.

    Args:
      envs: environments whose `reset(seed, blocking=False)` and
        `step(action, blocking=False)` return a promise of the observation.
        That of a step is None if the environment has lost its episode.
      on_episode: functions `fn(episode, index)`, called with each complete
        episode (dict of [N, ...] arrays) and the index of its environment.
      seed: function `fn(index, number)` that gives the seed of the episode
        that the environment of an index begins after `number` finished ones;
        None lets the randomness of the environments go on by itself.
    """
    self._envs = list(envs)
    self._on_episode = tuple(on_episode)
    self._seed = seed or (lambda index, number: None)
    self._finished = [0 for _ in self._envs]
    # Agent steps so far, without resets and lost episodes.
    self.steps = 0
    self.episodes = 0  # Finished episodes so far.
    self.reset()

  def reset(self):
    """Forgets running episodes and the policy state."""
    self._rows = [[] for _ in self._envs]
    self._state = None

  def cut(self):
    """Ends running episodes, as a time limit does."""
    for index, rows in enumerate(self._rows):
      if len(rows) > 1 and not rows[-1]['is_last']:
        rows[-1]['is_last'] = np.array(True)
        self._finish(index)
    self.reset()

  def __call__(self, policy, steps=0, episodes=0):
    """Runs for `steps` agent steps or `episodes` finished episodes.

    A vector step is one agent step in each environment and is never split,
    so `steps` is rounded up to a multiple of their number. Of `episodes`
    each environment runs a fixed share and then idles: taking whichever
    finish first would favor short episodes. Running episodes and the
    policy state carry over to the next call. An episode that is lost leaves
    nothing behind, and the steps it had made are made again.

    Args:
      policy: `policy(obs, state) -> (outputs, state)` with obs a dict of
        [n, ...] arrays, outputs['action'] [n, A], or [n] for choices by
        number, and state None at first.
        Rows of idle environments repeat their last observation.
      steps: agent steps over all environments.
      episodes: finished episodes over all environments.

    Raises:
      ValueError: not exactly one of steps and episodes is positive.
    """
    if (steps > 0) == (episodes > 0):
      raise ValueError(
          f'One of steps={steps} and episodes={episodes} must be positive')
    count = len(self._envs)
    if steps:
      goal = self.steps + -(-steps // count) * count
      while self.steps < goal:
        self._step(policy, range(count))
      return
    left = [(episodes + count - 1 - index) // count for index in range(count)]
    while any(left):
      active = [index for index in range(count) if left[index]]
      for index in self._step(policy, active):
        left[index] -= 1

  def _step(self, policy, active):
    """Steps the active environments; returns those that finished."""
    self._begin([
        index for index, rows in enumerate(self._rows)
        if not rows or (index in active and rows[-1]['is_last'])])
    last = [rows[-1] for rows in self._rows]
    obs = {
        key: np.stack([row[key] for row in last])
        for key in last[0] if key != 'action'}
    outputs, self._state = policy(obs, self._state)
    actions = np.asarray(outputs['action'], np.float32)
    assert len(actions) == len(self._envs), actions.shape
    promises = [
        self._envs[index].step({'action': actions[index]}, blocking=False)
        for index in active]
    finished = []
    for index, promise in zip(active, promises, strict=True):
      obs = promise()
      if obs is None:
        self.steps -= len(self._rows[index]) - 1
        self._rows[index] = []
        continue
      row = {**_row(obs), 'action': np.array(actions[index])}
      self._rows[index].append(row)
      self.steps += 1
      if row['is_last']:
        finished.append(index)
    for index in finished:
      self._finish(index)
    return finished

  def _begin(self, indices):
    promises = [
        self._envs[index].reset(
            self._seed(index, self._finished[index]), blocking=False)
        for index in indices]
    for index, promise in zip(indices, promises, strict=True):
      self._rows[index] = [_row(promise())]

  def _finish(self, index):
    rows = self._rows[index]
    rows[0]['action'] = np.zeros_like(rows[1]['action'])
    episode = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    self.episodes += 1
    self._finished[index] += 1
    for function in self._on_episode:
      function(episode, index)


class RandomPolicy:
  """Uniform actions within the bounds, or uniform one-hot choices."""

  def __init__(self, act_space, seed):
    """Starts the policy.

    Each environment index has its own stream of random numbers, so its
    actions do not depend on how many others there are.

    Args:
      act_space: spaces by name, with 'action' a Box or Discrete.
      seed: non-negative integer.
    """
    self._space = act_space['action']
    self._seed = seed
    self._streams = []

  def __call__(self, obs, state=None):
    for index in range(len(self._streams), len(obs['is_first'])):
      self._streams.append(np.random.default_rng([self._seed, index]))
    actions = np.stack([self._draw(stream) for stream in self._streams])
    return {'action': actions.astype(np.float32)}, state

  def _draw(self, stream):
    if is_discrete(self._space):
      return np.arange(self._space.n) == stream.integers(self._space.n)
    return stream.uniform(self._space.low, self._space.high)


def is_discrete(space):
  """Whether actions are choices, which are one-hot vectors here."""
  return hasattr(space, 'n')


def action_size(space):
  """Length of the action vectors of a Box or Discrete space."""
  return int(space.n) if is_discrete(space) else space.shape[0]


def _row(obs):
  # Copies, because environments may reuse their buffers.
  return {key: np.array(value) for key, value in obs.items()}
