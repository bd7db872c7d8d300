"""Whole episodes of a policy, the same for every agent and every policy."""

import contextlib

import numpy as np

from envs import driver

# Added to the seeds of simulators, which are below it in training.
FIRST_SEED = 2 ** 31


def evaluate(make_env, make_policy, count, envs, seed, on_episode=()):
  """Runs a policy for a number of episodes.

  Equal seeds give the same episodes to all policies, whatever was evaluated
  before and whatever simulator is lost.

  Args:
    make_env: function of a seed that gives a simulator.
    make_policy: function of the action space that gives a policy.
    count: number of episodes.
    envs: number of simulators side by side.
    seed: of the episodes, whose own seeds are FIRST_SEED or above.
    on_episode: further functions `fn(episode, index)`, see driver.Driver.

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
    returns.append(float(episode['reward'].sum(dtype=np.float64)))
    lengths.append(len(episode['reward']) - 1)
    if 'log_success' in episode:
      successes.append(bool((episode['log_success'] > 0).any()))

  def episode_seed(index, number):
    sequence = np.random.SeedSequence([seed, index, number])
    return FIRST_SEED + int(sequence.generate_state(1)[0]) // 2

  with contextlib.ExitStack() as stack:
    simulators = [
        stack.enter_context(contextlib.closing(
            make_env(episode_seed(index, 0))))
        for index in range(min(envs, count))]
    policy = make_policy(simulators[0].act_space)
    driver.Driver(
        simulators, on_episode=[keep, *on_episode], seed=episode_seed)(
            policy, episodes=count)
  return {
      'returns': returns, 'lengths': lengths, 'successes': successes,
      'video': videos[0]}
