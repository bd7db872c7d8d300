"""Evaluation of policies by whole episodes in fresh simulators."""

import contextlib

import numpy as np

from dreamerv2_base import driver, episodes


def evaluate(make_env, make_policy, count, envs, seed):
  """Runs a policy for a number of episodes.

  Equal seeds give the same simulators, whatever was evaluated before.

  Args:
    make_env: function of a seed that gives a simulator.
    make_policy: function of the action space that gives a policy.
    count: number of episodes.
    envs: number of simulators side by side.
    seed: of the simulators.

  Returns:
    Dict of returns (floats), lengths (agent steps) and successes (bools, none
    if the simulators do not report them), lists in order of completion, and
    video, the uint8 images [T, H, W, C] of the first episode that was
    completed.
  """
  returns, lengths, successes, videos = [], [], [], []

  def keep(episode, _):
    if not videos:
      videos.append(episode['image'])
    returns.append(episodes.episode_return(episode))
    lengths.append(len(episode['reward']) - 1)
    if 'log_success' in episode:
      successes.append(bool((episode['log_success'] > 0).any()))

  seeds = np.random.SeedSequence(seed).generate_state(min(envs, count))
  with contextlib.ExitStack() as stack:
    simulators = [
        stack.enter_context(contextlib.closing(make_env(int(seed))))
        for seed in seeds]
    policy = make_policy(simulators[0].act_space)
    driver.Driver(simulators, on_episode=[keep])(policy, episodes=count)
  return {
      'returns': returns, 'lengths': lengths, 'successes': successes,
      'video': videos[0]}


def statistics(returns, successes=()):
  """Returns mean, standard error and number of episode returns.

  With successes, a list of bools, also the share of successful episodes.
  """
  found = episodes.return_statistics(returns)
  stats = {
      'mean': found['mean'], 'stderr': found['stderr'],
      'episodes': len(returns)}
  if successes:
    stats['success'] = sum(successes) / len(successes)
  return stats
