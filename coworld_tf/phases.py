"""What happens in each phase of a schedule, see schedule.py."""

import contextlib
import logging

from coworld_tf import batches, embeddings, inputs, seeds, turns

LOG = logging.getLogger(__name__)


class Phases:
  """Functions of a schedule.Block by the name of its phase."""

  def __init__(self, trainer):
    """Takes the trainer.Trainer whose blocks these are."""
    self.trainer, self.config = trainer, trainer.config
    self.learner, self.target = trainer.learner, trainer.target
    self.batches = batches.Batches(trainer.config, trainer.shares)
    self.embeddings = embeddings.Embeddings(
        trainer.config, trainer.learner, trainer.target_replay, trainer.logdir)
    self.by_name = {
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

  def __call__(self, block):
    """Does what is left of a block."""
    self.by_name[block.phase](block)

  def _collector(self, block):
    """The collector of a block; the simulators of others are closed."""
    index = block.source
    if index is None:
      index = int(self.learner.selected)
    for collector in self.trainer.collectors:
      if collector.index != index:
        collector.close()
    return self.trainer.collectors[index]

  def _prefill(self, block):
    collector = self._collector(block)
    data = collector.replay
    def step():
      before = data.total_steps
      with self.trainer.shares('environment'):
        collector.prefill()
      return data.total_steps - before
    self.trainer.loop(
        block.amount // self.config.action_repeat, step, 'step')
    collector.agent.step.assign(data.total_steps)

  def _source(self, block):
    collector = self._collector(block)
    self._collect(
        block, collector, collector.agent.train, [collector.agent.step],
        self.batches.source(collector))

  def _source_aligned(self, block):
    collector = self._collector(block)
    target_data = self.batches(
        self.trainer.target_replay, collector.agent.updates, 2,
        seeds.ALIGNED_DATA, collector.index)
    self._collect(
        block, collector, self.learner.train_source_aligned,
        [collector.agent.step, self.learner.aligned_steps],
        self.batches.source(collector), target_data)

  def _collect(self, block, collector, train, counters, *data):
    """Acts in the source, with an update every few agent steps."""
    total = block.amount // self.config.action_repeat
    source = turns.Turns(
        self.trainer, collector, train, zip(*data, strict=True), counters)
    def step():
      if self.trainer.done == 0 and collector.agent.updates == 0:
        for _ in range(self.config.pretrain):
          source.update()
      source.act()
      done = self.trainer.done + 1
      if done % self.config.train_every == 0 or done == total:
        source.learn()
      if done == total or not collector.running:
        source.join()
      return 1
    with contextlib.closing(source):
      self.trainer.loop(total, step, 'step', collector)
    # A checkpoint cannot hold the state of the simulator.
    collector.cut()

  def _hand_over(self, block):
    """Gives what the source learned to the target."""
    source, = self.trainer.collectors
    data = self.batches(
        source.replay, self.trainer.done, 0, seeds.FISHER, batch=1)
    def step():
      name = f'hand_over-{self.trainer.done}'
      batch = next(data)
      with self.trainer.shares('update'):
        self.trainer.guard(name, None, self.learner.consolidate, batch)
      return 1
    self.trainer.loop(block.amount, step, 'sequence')
    metrics = self.learner.hand_over()
    if metrics:
      self.trainer.write(metrics)

  def _select(self, _):
    """Chooses the source to learn with from here on."""
    data = self.batches(
        self.trainer.target_replay, self.target.updates, 0, seeds.SELECT)
    metrics = self.learner.select(
        next(data) for _ in range(self.config.multi_source.batches))
    chosen = inputs.source_tasks(self.config)[int(self.learner.selected)]
    LOG.info('%s: %s', self.trainer.label(), chosen)
    self.trainer.write(metrics)

  def _target_model_alone(self, block):
    self._train_target(block.amount, self.target.train_model)

  def _target_model(self, block):
    self._train_aligned(block.amount, self.learner.train_target_model)

  def _target(self, block):
    steps = self.config.train_every
    updates = block.amount // (self.config.action_repeat * steps)
    self._train_aligned(updates, self.learner.train_target, steps)

  def _train_aligned(self, updates, train, steps=0):
    """Makes updates that may read embeddings of the source."""
    with self.trainer.shares('update'):  # Which they are a part of.
      beside = self.embeddings.prepare(updates, self.trainer.label())
    self._train_target(updates, train, steps, beside)

  def _train_target(self, updates, train, steps=0, beside=None):
    """Makes updates, each of which stands for some agent steps."""
    data = self.batches(
        self.trainer.target_replay, self.target.updates, 2,
        seeds.TARGET_DATA, beside=beside)
    def step():
      self.trainer.update('target', train, next(data))
      self.target.step.assign_add(steps)
      return 1
    self.trainer.loop(updates, step)

  def _evaluate_random(self, _):
    self.trainer.evaluate('target', random=True)

  def _evaluate_source(self, block):
    self.trainer.evaluate(self._collector(block).name)

  def _evaluate_target(self, _):
    self.trainer.evaluate('target')

  def _evaluate_final(self, _):
    self.trainer.evaluate('target' if self.target else 'source', final=True)
