"""Evaluations in the course of a run, and their record."""

import json
import logging
import threading
import time
from concurrent import futures

import numpy as np
import tensorflow as tf

from coworld_tf import cli, evaluate, seeds, threads
from dreamerv2_base import agent, logger
from envs import driver, evaluation

NAME = 'evaluations.jsonl'
LOG = logging.getLogger(__name__)


class Evaluator:
  """Shows how good the policies of a run are, and what its models predict.

  An evaluation is made by a thread, of copies of the networks that act:

      main program   begin   updates, as fast as the machine allows   finish
      thread                 simulators and copies

  What it finds depends on nothing that happens meanwhile, and the log has it
  where it began, so that a run is the same however long it takes. The first
  of each domain, which traces its policy, is not made beside, see threads.py.
  """

  def __init__(self, config, logdir, log, domains):
    """Prepares evaluations; close it in the end.

    Args:
      config: configuration, see configs/defaults.yaml.
      logdir: directory of the run.
      log: logger.Logger of the run.
      domains: name -> agent, its replay.Replay, and function of a seed that
        gives a simulator; target, source or source_<index>.
    """
    self.config, self.logdir, self.log = config, logdir, log
    self.domains = domains
    self.twins = {
        name: agent.Twin(learner) for name, (learner, *_) in domains.items()}
    # Of simulators, policies and shown sequences, at every evaluation.
    self.seed = seeds.make(config.seed, seeds.EVAL)
    self._pool = futures.ThreadPoolExecutor(1)
    self._traced = set()  # Domains whose twins have acted.
    self._result = self._record = None  # Of the one under way.
    self._unwanted = threading.Event()

  @property
  def pending(self):
    """Whether something is to be finished."""
    return self._result is not None

  @property
  def running(self):
    """Whether that would take a while."""
    return self.pending and not self._result.done()

  def begin(
      self, domain, label, position, judged, random=False, final=False):
    """Begins to run episodes in the simulator of a domain, or runs them.

    Args:
      domain: name of the domain.
      label: of the phase, for the log.
      position: where in the run this is, for the record and the log: a dict
        with the step.
      judged: whether its return is that of the run's checkpoint.
      random: whether actions are random instead of the agent's.
      final: whether this is what the run is judged by.
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
    twin = self.twins[domain]
    if not random:
      twin.follow()
    def make_policy(space):
      if random:
        return self._while_wanted(driver.RandomPolicy(space, self.seed))
      return self._while_wanted(agent.AgentPolicy(twin, self.seed, 'eval'))
    def work():
      begun = time.time()
      result = evaluation.evaluate(
          make_env, make_policy, count, config.envs, self.seed)
      result['seconds'] = round(time.time() - begun, 3)
      return {**result, 'video': logger.encode(
          f'{name}/episode', result['video'])}
    self._result = threads.submit(
        self._pool, work, beside=random or domain in self._traced)
    if not (random or final or self.config.compile == 'eager'):
      self._traced.add(domain)
    fill = self.log.leave_open(**position)
    def record(result):
      mean = self._keep(name, label, result, position, fill)
      return mean if judged else None
    self._record = record

  def finish(self):
    """Waits for the episodes and records them; returns what is judged."""
    result, self._result = self._result, None
    return self._record(result.result())

  def close(self):
    """Ends the episodes under way, which nobody will know of."""
    self._unwanted.set()
    self._pool.shutdown()

  def _while_wanted(self, policy):
    def wanted(obs, state):
      if self._unwanted.is_set():
        raise futures.CancelledError
      return policy(obs, state)
    return wanted

  def _predict(self, domain, learner, replay):
    batch = replay.sample(
        **self.config.dataset, rng=np.random.default_rng(self.seed))
    batch = {key: tf.constant(value) for key, value in batch.items()}
    self.log.video(
        f'{domain}/prediction', learner.report(batch)['image'].numpy())

  def _keep(self, name, label, result, position, fill):
    stats = evaluate.statistics(result['returns'], result['successes'])
    scalars = {
        f'{name}/return': stats['mean'],
        f'{name}/return_stderr': stats['stderr'],
        f'{name}/length': np.mean(result['lengths'])}
    line = 'return {mean:.1f} +- {stderr:.1f}'
    if 'success' in stats:
      line += ', {success:.0%} successful'
      scalars[f'{name}/success'] = stats['success']
    LOG.info('%s: %s policy, %s', label, name, line.format(**stats))
    fill(
        scalars, {f'{name}/episode': result['video']},
        evaluation_seconds=result['seconds'])
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
