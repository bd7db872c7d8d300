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

from coworld_tf import evaluations, faults, inputs, seeds
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
    self.waited = 0.0  # Seconds for batches.
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
    self.guard = faults.Guard(config, logdir, learner)
    for name in ('metrics.jsonl', evaluations.NAME):
      logger.rewind(logdir / name, self.step)
    self.logger = logger.Logger(logdir)
    self.evaluator = evaluations.Evaluator(
        config, logdir, self.logger, self.domains)
    self.saved = self.clock = time.time()
    self.phases = {
        'evaluate_random': self._evaluate_random,
        'evaluate_source': self._evaluate_source,
        'evaluate_target': self._evaluate_target,
        'evaluate_final': self._evaluate_final,
        'prefill': self._prefill,
        'source': self._source,
        'source_aligned': self._source_aligned,
        'hand_over': self._hand_over,
        'target_model_alone': self._target_model_alone,
        'select': self._select,
        'target_model': self._target_model,
        'target': self._target}

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
        self.phases[block.phase](block)
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

  def _label(self):
    phase = self.blocks[int(self.block)].phase
    return f'{phase} {int(self.block) + 1}/{len(self.blocks)}'

  def _loop(self, total, step, unit='update'):
    """Calls `step(left)` until it has done `total` units; saves at times."""
    before, waited, start = self.step, self.waited, time.time()
    with self._progress(total, int(self.done), unit) as bar:
      while self.done < total:
        count = step(total - int(self.done))
        self.done.assign_add(count)
        bar.update(count)
        if time.time() - self.saved > self.config.checkpoint_every:
          self.save()
    # The next block must not report the updates of this one.
    if self.step > before and self.step % self.config.log_every:
      self._write()
    if self.step > before:
      share = (self.waited - waited) / (time.time() - start)
      self.log.info('%s: %.1f %% waiting for data', self._label(), 100 * share)

  def _progress(self, total, done, unit):
    return contextlib.closing(
        progress.Progress(total, self._label(), done, unit))

  def _collector(self, block):
    """The collector of a block; the simulators of others are closed."""
    index = block.source
    if index is None:
      index = int(self.learner.selected)
    for collector in self.collectors:
      if collector.index != index:
        collector.close()
    return self.collectors[index]

  def _prefill(self, block):
    collector = self._collector(block)
    steps = block.amount // self.config.action_repeat
    done = collector.replay.total_steps
    with self._progress(steps, done, 'step') as bar:
      collector.prefill(steps, bar)

  def _source(self, block):
    collector = self._collector(block)
    data = self._source_data(collector)
    self._collect(block, collector, lambda: self._update(
        collector.name, collector.agent.train, next(data)))

  def _source_aligned(self, block):
    collector = self._collector(block)
    data = self._source_data(collector)
    target_data = self._data(
        self.target_replay, collector.agent.updates, 2,
        seeds.ALIGNED_DATA, collector.index)
    self._collect(block, collector, lambda: self._update(
        collector.name, self.learner.train_source_aligned, next(data),
        next(target_data)))

  def _source_data(self, source):
    stream = seeds.SOURCE_DATA, source.index
    return self._data(source.replay, source.agent.updates, 0, *stream)

  def _collect(self, block, collector, update):
    """Acts in the source, with an update every few agent steps."""
    config, source = self.config, collector.agent
    def step(left):
      if source.updates == 0:
        for _ in range(config.pretrain):
          update()
      count = min(config.train_every, left)
      collector.collect(count)
      if block.phase == 'source_aligned':
        self.learner.aligned_steps.assign_add(count)
      update()
      return count
    self._loop(block.amount // config.action_repeat, step, 'step')

  def _hand_over(self, block):
    """Gives what the source learned to the target."""
    source, = self.collectors
    data = self._data(source.replay, self.done, 0, seeds.FISHER, batch=1)
    def step(left):
      name = f'hand_over-{int(self.done)}'
      self.guard(name, None, self.learner.consolidate, next(data))
      return 1
    self._loop(block.amount, step, 'sequence')
    metrics = self.learner.hand_over()
    if metrics:
      self.logger.add(metrics, 'target')
      self._write()

  def _select(self, block):
    """Chooses the source to learn with from here on."""
    data = self._data(self.target_replay, self.target.updates, 0, seeds.SELECT)
    metrics = self.learner.select(
        next(data) for _ in range(self.config.multi_source.batches))
    chosen = inputs.source_tasks(self.config)[int(self.learner.selected)]
    self.log.info('%s: %s', self._label(), chosen)
    self.logger.add(metrics, 'target')
    self._write()

  def _target_model_alone(self, block):
    self._train_target(block.amount, self.target.train_model)

  def _target_model(self, block):
    self._train_target(block.amount, self.learner.train_target_model)

  def _target(self, block):
    steps = self.config.train_every
    updates = block.amount // (self.config.action_repeat * steps)
    self._train_target(updates, self.learner.train_target, steps)

  def _train_target(self, updates, train, steps=0):
    """Makes updates, each of which stands for some agent steps."""
    data = self._data(
        self.target_replay, self.target.updates, 2, seeds.TARGET_DATA)
    def step(left):
      self._update('target', train, next(data))
      self.target.step.assign_add(steps)
      return 1
    self._loop(updates, step)

  def _update(self, domain, train, *batches):
    agent = self.domains[domain][0]
    self.logger.add(self.guard(domain, agent, train, *batches), domain)
    if self.step % self.config.log_every == 0:
      self._write()

  def _write(self):
    phase = self.blocks[int(self.block)].phase
    self.logger.write(self.step, phase=phase, **self.counts())

  def _evaluate_random(self, _):
    self._evaluate('target', random=True)

  def _evaluate_source(self, block):
    self._evaluate(self._collector(block).name)

  def _evaluate_target(self, _):
    self._evaluate('target')

  def _evaluate_final(self, _):
    self._evaluate('target' if self.target else 'source', final=True)

  def _evaluate(self, domain, **kind):
    position = {
        'step': self.step, **self.counts(),
        'source_episodes': sum(
            x.replay.total_episodes for x in self.collectors)}
    self.evaluator(domain, self._label(), position, **kind)
    self._write()

  def _data(self, replay, start, prefetch, *stream, batch=0):
    """Yields batches from the given one on, and measures the waiting."""
    dataset = self.config.dataset
    batches = iter(replay.dataset(
        batch or dataset.batch, dataset.length,
        seeds.make(self.config.seed, *stream), int(start), prefetch))
    while True:
      begin = time.time()
      found = next(batches)
      self.waited += time.time() - begin
      yield found
