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
    Dict of returns (floats) and lengths (agent steps), lists in order of
    completion, and video, the uint8 images [T, H, W, C] of the first episode
    that was completed.
  """
  returns, lengths, videos = [], [], []

  def keep(episode, _):
    if not videos:
      videos.append(episode['image'])
    returns.append(episodes.episode_return(episode))
    lengths.append(len(episode['reward']) - 1)

  seeds = np.random.SeedSequence(seed).generate_state(min(envs, count))
  with contextlib.ExitStack() as stack:
    simulators = [
        stack.enter_context(contextlib.closing(make_env(int(seed))))
        for seed in seeds]
    policy = make_policy(simulators[0].act_space)
    driver.Driver(simulators, on_episode=[keep])(policy, episodes=count)
  return {'returns': returns, 'lengths': lengths, 'video': videos[0]}


def statistics(returns):
  """Returns mean, standard error and number of episode returns."""
  found = episodes.return_statistics(returns)
  return {
      'mean': found['mean'], 'stderr': found['stderr'],
      'episodes': len(returns)}
