"""Evaluation of policies by whole episodes in fresh simulators."""

import contextlib

import numpy as np

from dreamerv2_base import driver


def evaluate(make_env, make_policy, episodes, envs, seed):
  """Runs a policy for a number of episodes.

  Equal seeds give the same simulators, whatever was evaluated before.

  Args:
    make_env: function of a seed that gives a simulator.
    make_policy: function of the action space that gives a policy.
    episodes: number of episodes.
    envs: number of simulators side by side.
    seed: of the simulators.

  Returns:
    Dict of returns and lengths (lists, in order of completion), video
    [T, H, W, C] of the first episode, and log_* means over last rows.
  """
  finished = []
  seeds = np.random.SeedSequence(seed).generate_state(min(envs, episodes))
  with contextlib.ExitStack() as stack:
    simulators = [make_env(int(seed)) for seed in seeds]
    for simulator in simulators:
      stack.callback(simulator.close)
    policy = make_policy(simulators[0].act_space)
    keep = lambda episode, index: finished.append(episode)
    driver.Driver(simulators, on_episode=[keep])(policy, episodes=episodes)
  return {
      'returns': [float(episode['reward'].sum()) for episode in finished],
      'lengths': [len(episode['reward']) - 1 for episode in finished],
      'video': finished[0]['image']}


def statistics(returns):
  """Returns mean, standard error and number of episode returns."""
  count = len(returns)
  stderr = np.std(returns, ddof=1) / np.sqrt(count) if count > 1 else 0.0
  return {
      'mean': float(np.mean(returns)), 'stderr': float(stderr),
      'episodes': count}
