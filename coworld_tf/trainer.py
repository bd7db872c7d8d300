"""Runs the blocks of Algorithm 1: data, updates, evaluation, checkpoints."""

import contextlib
import json
import logging
import time

import numpy as np
import tensorflow as tf

from coworld_tf import evaluate, schedule
from dreamerv2_base import agent, driver, logger, progress

EVALUATIONS = 'evaluations.jsonl'
# Seeds of independent streams of random numbers within a run.
SOURCE_DATA, TARGET_DATA, ALIGNED_DATA, PREFILL, ACTING, COLLECT, EVAL = (
    range(7))


class Trainer:
  """Trains a pair, or a source agent alone, and remembers where it stands."""

  def __init__(
      self, config, logdir, pair, source, source_replay, target_replay,
      make_env):
    """Prepares a run, or continues the one in the log directory.

    Args:
      config: configuration, see configs/defaults.yaml.
      logdir: directory for logs, videos and checkpoints.
      pair: pair.CoWorldPair, or None to train the source alone.
      source: agent of the simulator, the pair's if there is one.
      source_replay: replay.Replay that grows.
      target_replay: replay.Replay of the offline data, or None.
      make_env: function of the domain, 'source' or 'target', and of a seed
        that gives a simulator.
    """
    self.config, self.logdir = config, logdir
    self.pair, self.source = pair, source
    self.target = pair.target if pair else None
    self.source_replay, self.target_replay = source_replay, target_replay
    self.domains = {'source': (source, source_replay)}
    if pair:
      self.domains['target'] = pair.target, target_replay
    self.make_env, self.driver = make_env, None
    self.waited = 0.0  # Seconds for batches.
    self.blocks = list(schedule.algorithm_1(
        **config.schedule, target=pair is not None))
    # Position: block of the schedule, units done in it, seconds of training.
    self.block = tf.Variable(0, trainable=False, dtype=tf.int64)
    self.done = tf.Variable(0, trainable=False, dtype=tf.int64)
    self.seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)
    self.checkpoint = tf.train.Checkpoint(
        learner=pair or source, block=self.block, done=self.done,
        seconds=self.seconds)
    self.manager = tf.train.CheckpointManager(
        self.checkpoint, str(logdir / 'checkpoints'), max_to_keep=2)
    self.log = logging.getLogger(__name__)
    if self.manager.latest_checkpoint:
      status = self.checkpoint.restore(self.manager.latest_checkpoint)
      status.assert_consumed()
      if self.block < len(self.blocks):
        self.log.info(
            'continuing at block %d of %d, update %d', self.block + 1,
            len(self.blocks), self.step)
      else:
        self.log.info('this run is finished')
    for name in ('metrics.jsonl', EVALUATIONS):
      logger.rewind(logdir / name, self.step)
    self.logger = logger.Logger(logdir)
    self.saved = self.clock = time.time()
    self.phases = {
        'evaluate_random': self._evaluate_random,
        'evaluate_source': lambda _: self._evaluate('source'),
        'evaluate_target': lambda _: self._evaluate('target'),
        'evaluate_final': self._evaluate_final,
        'prefill': self._prefill,
        'source': lambda frames: self._source(frames, aligned=False),
        'source_aligned': lambda frames: self._source(frames, aligned=True),
        'target_model': self._target_model,
        'target': self._target}

  @property
  def step(self):
    """Updates of both agents so far, the horizontal axis of all logs."""
    return sum(int(learner.updates) for learner, _ in self.domains.values())

  def counts(self):
    """Returns what was spent so far: frames, updates, samples, seconds."""
    updates = {
        f'{domain}_updates': int(learner.updates)
        for domain, (learner, _) in self.domains.items()}
    dataset = self.config.dataset
    seconds = float(self.seconds) + time.time() - self.clock
    return {
        'source_frames': int(self.source.step) * self.config.action_repeat,
        **updates,
        'samples_seen': self.step * dataset.batch * dataset.length,
        'seconds': round(seconds, 1)}

  def run(self):
    """Runs all blocks that are left."""
    try:
      while self.block < len(self.blocks):
        phase, amount = self.blocks[int(self.block)]
        self.phases[phase](amount)
        self.block.assign_add(1)
        self.done.assign(0)
        self.save()
    finally:
      self.logger.close()
      self.source_replay.close()
      if self.driver:
        self.simulator.close()

  def save(self):
    """Writes a checkpoint."""
    now = time.time()
    self.seconds.assign_add(now - self.clock)
    self.saved = self.clock = now
    self.manager.save()

  def _label(self):
    phase, _ = self.blocks[int(self.block)]
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

  def _prefill(self, frames):
    self._start_driver()
    steps = frames // self.config.action_repeat
    collected = self.source_replay.total_steps
    policy = driver.RandomPolicy(
        self.simulator.act_space, self._seed(PREFILL, collected))
    with self._progress(steps, collected, 'step') as bar:
      while collected < steps:
        self.driver(policy, episodes=1)
        bar.update(self.source_replay.total_steps - collected)
        collected = self.source_replay.total_steps
    self.driver.reset()
    self.source.step.assign(collected)

  def _source(self, frames, aligned):
    self._start_driver()
    config, source = self.config, self.source
    data = self._data(self.source_replay, SOURCE_DATA, source.updates)
    inputs = [data]
    train = source.train
    if aligned:
      train = self.pair.train_source_aligned
      inputs.append(self._data(
          self.target_replay, ALIGNED_DATA, source.updates, prefetch=2))
    update = lambda: self._update(
        'source', train, *[next(batches) for batches in inputs])
    policy = agent.AgentPolicy(
        source, self._seed(ACTING), 'train', int(source.step))
    def step(left):
      if source.updates == 0:
        for _ in range(config.pretrain):
          update()
      count = min(config.train_every, left)
      self.driver(policy, steps=count)
      source.step.assign_add(count)
      if aligned:
        self.pair.aligned_steps.assign_add(count)
      update()
      return count
    self._loop(frames // config.action_repeat, step, 'step')

  def _target_model(self, updates):
    self._train_target(updates, self.pair.train_target_model)

  def _target(self, frames):
    per_update = self.config.action_repeat * self.config.train_every
    self._train_target(frames // per_update, self.pair.train_target)

  def _train_target(self, updates, train):
    if self.target.updates == 0 and (
        self.config.coworld.target_init == 'from_source'):
      self.pair.copy_source_model()
    data = self._data(
        self.target_replay, TARGET_DATA, self.target.updates, prefetch=2)
    def step(left):
      self._update('target', train, next(data))
      return 1
    self._loop(updates, step)

  def _update(self, domain, train, *batches):
    self.logger.add(train(*batches), domain)
    if self.step % self.config.log_every == 0:
      self._write()

  def _write(self):
    phase, _ = self.blocks[int(self.block)]
    self.logger.write(self.step, phase=phase, **self.counts())

  def _evaluate_random(self, _):
    self._run_episodes(
        'random', 'target', self.config.evaluation.final_episodes,
        lambda space: driver.RandomPolicy(space, self._seed(EVAL)))

  def _evaluate_final(self, _):
    domain = 'target' if self.target else 'source'
    self._evaluate(domain, self.config.evaluation.final_episodes)

  def _evaluate(self, domain, episodes=0):
    """Runs episodes with the mode of the policy and shows predictions."""
    learner, replay = self.domains[domain]
    episodes = episodes or self.config.evaluation[f'{domain}_episodes']
    policy = agent.AgentPolicy(learner, self._seed(EVAL), 'eval')
    if learner.updates > 0:
      batch = replay.sample(
          **self.config.dataset, rng=np.random.default_rng(self._seed(EVAL)))
      batch = {key: tf.constant(value) for key, value in batch.items()}
      self.logger.video(
          f'{domain}/prediction', learner.report(batch)['image'].numpy())
    self._run_episodes(domain, domain, episodes, lambda space: policy)

  def _run_episodes(self, name, domain, episodes, make_policy):
    self.log.info(
        '%s: %s policy, %d episodes', self._label(), name, episodes)
    result = evaluate.evaluate(
        lambda seed: self.make_env(domain, seed), make_policy, episodes,
        self.config.evaluation.envs, self._seed(EVAL))
    stats = evaluate.statistics(result['returns'], result['successes'])
    line = '  return {mean:.1f} +- {stderr:.1f}'
    if 'success' in stats:
      line += ', {success:.0%} successful'
      self.logger.scalar(f'{name}/success', stats['success'])
    self.log.info(line.format(**stats))
    self.logger.scalar(f'{name}/return', stats['mean'])
    self.logger.scalar(f'{name}/return_stderr', stats['stderr'])
    self.logger.scalar(
        f'{name}/length', sum(result['lengths']) / len(result['lengths']))
    self.logger.video(f'{name}/episode', result['video'])
    self._write()
    record = {
        'policy': name, 'step': self.step,
        'source_frames': self.counts()['source_frames'],
        'source_episodes': self.source_replay.total_episodes, **{
            key: result[key] for key in ('returns', 'lengths', 'successes')}}
    with (self.logdir / EVALUATIONS).open('a') as file:
      file.write(json.dumps(record) + '\n')

  def _data(self, replay, stream, start, prefetch=0):
    batch, length = self.config.dataset.batch, self.config.dataset.length
    batches = iter(replay.dataset(
        batch, length, self._seed(stream), int(start), prefetch))
    def timed():
      while True:
        begin = time.time()
        batch = next(batches)
        self.waited += time.time() - begin
        yield batch
    return timed()

  def _start_driver(self):
    # After a restart the running episode is lost, and a new seed goes on.
    if not self.driver:
      seed = self._seed(COLLECT, self.source_replay.total_steps)
      self.simulator = self.make_env('source', seed)
      append = lambda episode, index: self.source_replay.append(episode)
      self.driver = driver.Driver([self.simulator], on_episode=[append])

  def _seed(self, *stream):
    """Returns a seed for a stream that no other stream has."""
    sequence = np.random.SeedSequence((self.config.seed, *stream))
    return int(sequence.generate_state(1)[0] // 2)
