"""Runs the blocks of a schedule: data, updates, evaluation, checkpoints.

A learner is a tf.Module whose variables all exist from the start, with

    sources    agents of the simulators, perhaps none
    target     agent of the offline data, or None

and what the phases of its schedule need: functions from batches of sequences
to metrics, `train_source_aligned(batch, target_batch)`, `train_target_model`,
`train_target`, `consolidate` (one sequence, no metrics) and `select` (several
batches); `hand_over()`, which also gives metrics; the index `selected` of a
source and its counter `aligned_steps`.
"""

import contextlib
import logging
import time

import tensorflow as tf

from coworld_tf import evaluations, phases
from dreamerv2_base import logger, progress


class Trainer:
  """Trains a learner and remembers where it stands."""

  def __init__(
      self, config, logdir, learner, blocks, collectors, target_replay,
      make_target):
    """Prepares a run, or continues the one in the log directory.

    Args:
      config: configuration, see configs/defaults.yaml.
      logdir: directory for logs, videos and checkpoints.
      learner: as above.
      blocks: list of schedule.Block.
      collectors: a collector.Collector for each source.
      target_replay: replay.Replay of the offline data, or None.
      make_target: function of a seed that gives a simulator of the target.
    """
    self.config, self.logdir, self.blocks = config, logdir, blocks
    self.learner, self.collectors = learner, collectors
    self.target, self.target_replay = learner.target, target_replay
    self.domains = {x.name: (x.agent, x.replay, x.make_env)
                    for x in collectors}
    if self.target:
      self.domains['target'] = self.target, target_replay, make_target
    # Position: block of the schedule, units done in it, seconds of training.
    self.block = tf.Variable(0, trainable=False, dtype=tf.int64)
    self.done = tf.Variable(0, trainable=False, dtype=tf.int64)
    self.seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)
    self.checkpoint = tf.train.Checkpoint(
        learner=learner, block=self.block, done=self.done,
        seconds=self.seconds)
    self.manager = tf.train.CheckpointManager(
        self.checkpoint, str(logdir / 'checkpoints'), max_to_keep=2)
    self.log = logging.getLogger(__name__)
    self._restore()
    for name in ('metrics.jsonl', evaluations.NAME):
      logger.rewind(logdir / name, self.step)
    self.logger = logger.Logger(logdir)
    self.evaluator = evaluations.Evaluator(
        config, logdir, self.logger, self.domains)
    self.saved = self.clock = time.time()
    self.phases = phases.Phases(self)

  def _restore(self):
    if not self.manager.latest_checkpoint:
      return
    path = self.manager.latest_checkpoint
    try:
      self.checkpoint.restore(path).assert_consumed()
    except (AssertionError, ValueError, tf.errors.OpError):
      raise ValueError(
          f'{path}: damaged or of another version; choose another --logdir '
          'to start a new run') from None
    if self.block < len(self.blocks):
      self.log.info(
          'continuing at block %d of %d, update %d', self.block + 1,
          len(self.blocks), self.step)
    else:
      self.log.info('this run is finished')

  @property
  def step(self):
    """Updates of all agents so far, the horizontal axis of all logs."""
    return sum(int(learner.updates) for learner, *_ in self.domains.values())

  def counts(self):
    """Returns what was spent so far: frames, updates, samples, seconds."""
    dataset = self.config.dataset
    seconds = float(self.seconds) + time.time() - self.clock
    frames = sum(int(x.agent.step) for x in self.collectors)
    counts = {'source_frames': frames * self.config.action_repeat}
    for name, (learner, *_) in self.domains.items():
      counts[f'{name}_updates'] = int(learner.updates)
    return {
        **counts, 'samples_seen': self.step * dataset.batch * dataset.length,
        'seconds': round(seconds, 1)}

  def run(self):
    """Runs all blocks that are left."""
    try:
      while self.block < len(self.blocks):
        block = self.blocks[int(self.block)]
        self.phases(block)
        self.block.assign_add(1)
        self.done.assign(0)
        self.save()
    finally:
      self.logger.close()
      for collector in self.collectors:
        collector.close()
        collector.replay.close()

  def save(self):
    """Writes a checkpoint."""
    now = time.time()
    self.seconds.assign_add(now - self.clock)
    self.saved = self.clock = now
    self.manager.save()

  def label(self):
    """Returns the name of the current block, for logs."""
    phase = self.blocks[int(self.block)].phase
    return f'{phase} {int(self.block) + 1}/{len(self.blocks)}'

  def progress(self, total, done, unit):
    """Returns a context with the progress.Progress of the current block."""
    return contextlib.closing(
        progress.Progress(total, self.label(), done, unit))

  def loop(self, total, step, unit='update'):
    """Calls `step(left)` until it has done `total` units; saves at times.

    Returns:
      Seconds, 0 if there were no updates.
    """
    before, start = self.step, time.time()
    with self.progress(total, int(self.done), unit) as bar:
      while self.done < total:
        count = step(total - int(self.done))
        self.done.assign_add(count)
        bar.update(count)
        if time.time() - self.saved > self.config.checkpoint_every:
          self.save()
    if self.step == before:
      return 0
    # The next block must not report the updates of this one.
    if self.step % self.config.log_every:
      self.write()
    return time.time() - start

  def update(self, domain, train, *batches):
    """Trains an agent and logs the metrics that `train(*batches)` returns."""
    self.logger.add(train(*batches), domain)
    if self.step % self.config.log_every == 0:
      self.write()

  def write(self, metrics=()):
    """Writes a line of metrics, with further ones of the target."""
    self.logger.add(dict(metrics), 'target')
    phase = self.blocks[int(self.block)].phase
    self.logger.write(self.step, phase=phase, **self.counts())

  def evaluate(self, domain, **kind):
    """Evaluates the policy of a domain, see evaluations.Evaluator."""
    position = {
        'step': self.step, **self.counts(),
        'source_episodes': sum(
            x.replay.total_episodes for x in self.collectors)}
    self.evaluator(domain, self.label(), position, **kind)
    self.write()
