"""Runs the blocks of a schedule: data, updates, evaluation, checkpoints.

A learner is a tf.Module whose variables all exist from the start, with

    sources    agents of the simulators, perhaps none
    target     agent of the offline data, or None

and what the phases of its schedule need: functions from batches of sequences
to metrics, `train_source_aligned(batch, target_batch)`, `train_target_model`,
`train_target`, `consolidate` (one sequence, no metrics) and `select` (several
batches); `hand_over()`, which also gives metrics; `embed(images)` by a source;
the index `selected` of a source and its counter `aligned_steps`.
"""

import contextlib
import logging
import time

from coworld_tf import (
  checkpoints,
  evaluations,
  faults,
  interrupts,
  keeper,
  phases,
  shares,
)
from dreamerv2_base import files, logger, progress

LOG = logging.getLogger(__name__)
LOGS = 'metrics.jsonl', evaluations.NAME
FINISHED = 'finished'  # In place of a phase.


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

    Raises:
      ValueError: the checkpoints cannot be used.
    """
    self.config, self.logdir, self.blocks = config, logdir, blocks
    self.learner, self.collectors = learner, collectors
    self.target, self.target_replay = learner.target, target_replay
    # What tells the offline data from others, wherever they are.
    self.dataset = target_replay.stats if target_replay else {}
    self.domains = {x.name: (x.agent, x.replay, x.make_env)
                    for x in collectors}
    if self.target:
      self.domains['target'] = self.target, target_replay, make_target
    # Position: block of the schedule, units done in it, seconds of training.
    self.block, self.done, self.seconds = 0, 0, 0.0
    self.shares = shares.Shares(x.phase for x in blocks)
    self.saved_at = 0, 0  # Block and units at the last checkpoint.
    self.keeper = keeper.Keeper(logdir / 'checkpoints', learner, config)
    facts, pending = self.keeper.restore() or (None, {})
    if facts:
      self._go_back(facts)
    else:  # What no checkpoint knows is made again.
      for collector in collectors:
        collector.replay.cut(0)
    self.guard = faults.Guard(config, logdir, learner)
    for name in LOGS:
      logger.rewind(logdir / name, facts['logs'][name] if facts else 0)
    self.logger = logger.Logger(logdir)
    self.logger.resume(pending)
    self.evaluator = evaluations.Evaluator(
        config, logdir, self.logger, self.domains)
    self.phases = phases.Phases(self)
    self.saved = self.clock = time.time()

  def _go_back(self, facts):
    """Takes the position of a checkpoint, and drops what came after it."""
    if not checkpoints.like(facts, self._facts()):
      raise ValueError(
          f'{self.keeper.directory}: the newest checkpoint does not say where '
          'the run stands; choose another --logdir')
    if facts.get('dataset', self.dataset) != self.dataset and (
        self.config.resume != 'force'):
      raise ValueError(
          f'offline_dir: {self.config.offline_dir} holds other episodes than '
          f'the run in {self.logdir} learned from; give those, choose another '
          '--logdir, or go on with --resume force')
    position = facts['position']
    self.block, self.done = position['block'], position['done']
    self.saved_at, self.seconds = (self.block, self.done), position['seconds']
    # Not so in a checkpoint of an earlier version or another schedule.
    if checkpoints.like(facts.get('shares'), self.shares.facts()):
      self.shares.resume(facts['shares'])
    if position['phase'] != self._phase():
      raise ValueError(
          f"{self.logdir}: the run stands at '{position['phase']}', block "
          f"{self.block + 1}, where this configuration has "
          f"'{self._phase()}'; choose another --logdir")
    for collector in self.collectors:
      collector.go_back(facts['replays'][collector.name]['episodes'])
    if self._phase() == FINISHED:
      LOG.info('this run is finished')
    else:
      LOG.info(
          'continuing at block %d of %d, update %d', self.block + 1,
          len(self.blocks), self.step)

  @property
  def step(self):
    """Updates of all agents so far, the horizontal axis of all logs."""
    return sum(self._updates().values())

  def counts(self):
    """Returns what was spent so far: frames, updates, samples, seconds."""
    dataset = self.config.dataset
    seconds = self.seconds + time.time() - self.clock
    frames = sum(int(x.agent.step) for x in self.collectors)
    counts = {'source_frames': frames * self.config.action_repeat}
    for name, updates in self._updates().items():
      counts[f'{name}_updates'] = updates
    return {
        **counts, 'samples_seen': self.step * dataset.batch * dataset.length,
        'seconds': round(seconds, 1)}

  def run(self):
    """Runs all blocks that are left.

    Raises:
      interrupts.Stopped: as a signal wanted it, after a checkpoint if that
        was possible.
    """
    with contextlib.ExitStack() as stack:
      for collector in self.collectors:
        stack.callback(collector.replay.close)
        stack.callback(collector.close)
      for part in (self.logger, self.keeper, self.evaluator):
        stack.callback(part.close)
      while self.block < len(self.blocks):
        self._run_block()
      self.settle()

  def _run_block(self):
    self.phases(self.blocks[self.block])
    # An evaluation is beside the next block, of which it is a part; until it
    # is over, its checkpoint stands before it.
    evaluates = self._phase().startswith('evaluate')
    beside = evaluates and self.config.overlap != 'none' and not (
        self._phase(1).startswith(('evaluate', FINISHED)))
    if not beside:
      self.settle()
    if not evaluates or self._phase(1) == FINISHED:
      self.tell_shares()
    self.block, self.done = self.block + 1, 0
    if not beside:
      # Or the block would be made again.
      with interrupts.delayed() as signals:
        self.save()
        if signals:
          self.keeper.settle()

  def save(self):
    """Writes a checkpoint, which is verified beside what comes next."""
    self.settle()
    with self.shares('checkpoint'):
      now = time.time()
      self.seconds += now - self.clock
      self.clock = now
      for path in map(self.logdir.joinpath, LOGS):
        if path.exists():
          files.sync(path)
      self.keeper.save(
          {**self._facts(), 'dataset': self.dataset,
           'shares': self.shares.facts()}, self.logger.pending())
    self.saved_at, self.saved = (self.block, self.done), time.time()

  def settle(self, wait=True):
    """Ends a checkpoint and an evaluation, without `wait` if they are over."""
    if self.evaluator.pending and (wait or not self.evaluator.running):
      with self.shares('evaluation'):
        score = self.evaluator.finish()
      if score is not None:  # The newest checkpoint holds what was evaluated.
        self.keeper.rate(score)
    with self.shares('checkpoint'):
      if self.keeper.settle(wait):
        for collector in self.collectors:
          # None needs older episodes any more.
          collector.replay.drop_before(min(
              facts['replays'][collector.name]['first_shard']
              for facts in self.keeper.last()))

  def label(self):
    """Returns the name of the current block, for logs."""
    return f'{self._phase()} {self.block + 1}/{len(self.blocks)}'

  def loop(self, total, step, unit='update', collector=None):
    """Calls `step()` until it has done `total` units; saves at times.

    Args:
      total: number of units.
      step: returns the number of units that it has done.
      unit: what is counted, in the singular.
      collector: checkpoints stand where this one runs no episode, and where
        no evaluation is running.
    """
    bar = progress.Progress(total, self.label(), self.done, unit)
    with contextlib.closing(bar), interrupts.delayed() as signals:
      while self.done < total:
        self.done += (count := step())
        bar.update(count)
        self.settle(wait=False)
        due = time.time() - self.saved > self.config.checkpoint_every
        may = not self.evaluator.running and not (
            collector and collector.running)
        if may and (due or signals):
          self.save()
        if signals:
          self.keeper.settle()
          self._tell_lost(unit)
          break
    # The next block must not report the updates of this one.
    if self.logger.pending():
      self.write()

  def _tell_lost(self, unit):
    block, done = self.saved_at
    lost = (f'{self.done - done} {unit}s since the last checkpoint'
            if block == self.block else f'all since block {block + 1}')
    LOG.info('%s: %s will be made again', self.label(), lost)

  def tell_shares(self):
    """Logs what the time since the last call was spent on, by shares."""
    found, seconds = self.shares.finish(self._phase())
    LOG.info(
        '%s: %s of %.1f s', self.label(), shares.line(found), seconds)

  def update(self, domain, train, *batches):
    """Trains an agent and logs the metrics that `train(*batches)` returns."""
    self.log(domain, self.make(domain, train, *batches))

  def make(self, domain, train, *batches):
    """Trains an agent in any thread; returns the metrics once they exist."""
    with self.shares(shares.UPDATE):
      return self.guard(domain, self.domains[domain][0], train, *batches)

  def log(self, domain, metrics):
    """Logs the metrics of the update of a domain that was made last."""
    self.logger.add(metrics, domain)
    if self.step % self.config.log_every == 0:
      self.write()

  def write(self, metrics=()):
    """Writes a line of metrics, with further ones of the target."""
    self.logger.add(dict(metrics), 'target')
    self.logger.write(self.step, phase=self._phase(), **self.counts())

  def evaluate(self, domain, **kind):
    """Begins to evaluate a policy, see evaluations.Evaluator.begin."""
    position = {
        'step': self.step, 'phase': self._phase(), **self.counts(),
        'source_episodes': sum(
            x.replay.total_episodes for x in self.collectors)}
    judged = 'random' not in kind and (
        domain == ('target' if self.target else 'source'))
    with self.shares('evaluation'):
      self.evaluator.begin(domain, self.label(), position, judged, **kind)

  def _facts(self):
    """Where the run stands, for its checkpoint."""
    paths = {name: self.logdir / name for name in LOGS}
    return {
        'position': {
            'block': self.block, 'phase': self._phase(), 'done': self.done,
            'updates': self._updates(), 'seconds': self.seconds},
        'logs': {name: path.stat().st_size if path.exists() else 0
                 for name, path in paths.items()},
        'replays': {x.name: {
            'episodes': x.replay.total_episodes,
            'first_shard': x.replay.first_shard} for x in self.collectors}}

  def _updates(self):
    return {name: int(agent.updates)
            for name, (agent, *_) in self.domains.items()}

  def _phase(self, ahead=0):
    return next((x.phase for x in self.blocks[self.block + ahead:]), FINISHED)
