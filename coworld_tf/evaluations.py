"""Evaluations in the course of a run, and their record."""

import json
import logging

import numpy as np
import tensorflow as tf

from coworld_tf import cli, evaluate, seeds
from dreamerv2_base import agent
from envs import driver, evaluation

NAME = 'evaluations.jsonl'
LOG = logging.getLogger(__name__)


class Evaluator:
  """Shows how good the policies of a run are, and what its models predict."""

  def __init__(self, config, logdir, logger, domains):
    """Prepares evaluations.

    Args:
      config: configuration, see configs/defaults.yaml.
      logdir: directory of the run.
      logger: logger.Logger of the run.
      domains: name -> agent, its replay.Replay, and function of a seed that
        gives a simulator; target, source or source_<index>.
    """
    self.config, self.logdir, self.logger = config, logdir, logger
    self.domains = domains
    # Of simulators, policies and shown sequences, at every evaluation.
    self.seed = seeds.make(config.seed, seeds.EVAL)

  def __call__(self, domain, label, position, random=False, final=False):
    """Runs episodes in the simulator of a domain and records them.

    Args:
      domain: name of the domain.
      label: of the phase, for the log.
      position: dict that tells where in the run this is.
      random: whether actions are random instead of the agent's.
      final: whether this is what the run is judged by.

    Returns:
      The mean return.
    """
    config = self.config.evaluation
    count = config.final_episodes
    if not (random or final):
      count = config[
          'target_episodes' if domain == 'target' else 'source_episodes']
    name = 'random' if random else domain
    LOG.info('%s: %s policy, %d episodes', label, name, count)
    learner, replay, make_env = self.domains[domain]
    # What was handed over has made no updates itself.
    if not random and learner.updates + learner.ac.updates > 0:
      self._predict(domain, learner, replay)
    def make_policy(space):
      if random:
        return driver.RandomPolicy(space, self.seed)
      return agent.AgentPolicy(learner, self.seed, 'eval')
    result = evaluation.evaluate(
        make_env, make_policy, count, config.envs, self.seed)
    return self._record(name, result, position)

  def _predict(self, domain, learner, replay):
    batch = replay.sample(
        **self.config.dataset, rng=np.random.default_rng(self.seed))
    batch = {key: tf.constant(value) for key, value in batch.items()}
    self.logger.video(
        f'{domain}/prediction', learner.report(batch)['image'].numpy())

  def _record(self, name, result, position):
    stats = evaluate.statistics(result['returns'], result['successes'])
    line = '  return {mean:.1f} +- {stderr:.1f}'
    if 'success' in stats:
      line += ', {success:.0%} successful'
      self.logger.scalar(f'{name}/success', stats['success'])
    LOG.info(line.format(**stats))
    self.logger.scalar(f'{name}/return', stats['mean'])
    self.logger.scalar(f'{name}/return_stderr', stats['stderr'])
    self.logger.scalar(f'{name}/length', np.mean(result['lengths']))
    self.logger.video(f'{name}/episode', result['video'])
    kept = {key: result[key] for key in ('returns', 'lengths', 'successes')}
    kept['envs'] = self.config.evaluation.envs
    with (self.logdir / NAME).open('a') as file:
      file.write(json.dumps({'policy': name, **position, **kept}) + '\n')
    return stats['mean']


def last(logdir):
  """Returns the last record of each policy by name.

  Raises:
    cli.Fault: the file is gone.
  """
  path = logdir / NAME
  if not path.exists():
    raise cli.Fault(
        f'{path}: gone, and with it the results; the checkpoints can be '
        'evaluated by python -m coworld_tf.evaluate')
  lines = path.read_text().splitlines()
  # A later line of the same policy replaces an earlier one.
  return {record['policy']: record for record in map(json.loads, lines)}
