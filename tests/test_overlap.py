"""A source that acts while it learns does not depend on what is faster."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import cli, turns
from dreamerv2_base import logger, store
from tests import runs

# The end of a block is no multiple of updates, nor that of episodes. The
# loss depends on the number of agent steps.
FLAGS = (
    '--schedule.source_pretrain 1 --schedule.source_steps 16 --actor_ent '
    'linear(1,0,50) --actor_opt.lr 1e-2 --compile graph')


class AtOnce:
  """Makes what is submitted before anything else."""

  def __init__(self, _):
    pass

  def submit(self, function, *args):
    value = function(*args)
    made = turns.futures.Future()
    made.set_result(value)
    return made

  def shutdown(self):
    pass


class AtLast(AtOnce):
  """Makes what is submitted when its result is wanted."""

  def submit(self, function, *args):
    made = turns.futures.Future()
    made.result = functools.cache(lambda: function(*args))
    return made


def build(logdir, *args):
  return runs.online(logdir, *FLAGS.split(), *args)


def train(logdir, *args):
  """Returns weights, metrics and data of a run by name."""
  trainer = build(logdir, *args)
  trainer.run()
  lines = logger.read_metrics(logdir / 'metrics.jsonl')
  return {
      'variables': [x.numpy() for x in trainer.learner.variables],
      'metrics': [
          {key: x for key, x in line.items() if 'seconds' not in key}
          for line in lines],
      'episodes': (logdir / 'source_episodes' / store.INDEX).read_bytes()}


def test_speed_does_not_matter(tmp_path, monkeypatch):
  found = [train(tmp_path / 'thread', '--overlap', 'all')]
  for pool in (AtOnce, AtLast):
    monkeypatch.setattr(turns.futures, 'ThreadPoolExecutor', pool)
    found.append(train(tmp_path / pool.__name__, '--overlap', 'all'))
  for other in found[1:]:
    assert other['metrics'] == found[0]['metrics']
    assert other['episodes'] == found[0]['episodes']
    for pair in zip(
        found[0]['variables'], other['variables'], strict=True):
      np.testing.assert_array_equal(*pair)
  apart = train(tmp_path / 'turns')
  assert apart['episodes'] != found[0]['episodes']
  steps = lambda run: [
      [line[key] for key in ('step', 'source_frames', 'source_updates')]
      for line in run['metrics']]
  assert steps(apart) == steps(found[0])


def begin(tmp_path):
  """A trainer with data, its collector, and their turns."""
  trainer = build(tmp_path, '--overlap', 'all')
  collector, = trainer.collectors
  collector.prefill()
  source = turns.Turns(
      trainer, collector, collector.agent.train,
      zip(trainer.phases.batches.source(collector)), [collector.agent.step])
  return trainer, collector, source


def test_acts_as_before_the_update_until_the_next(tmp_path):
  trainer, collector, source = begin(tmp_path)
  weight = lambda learner: learner.ac.actor.out.mean.kernel.numpy()
  probe = {
      key: np.zeros([1, *space.shape], space.dtype)
      for key, space in collector.simulator.obs_space.items()}
  def act(learner):
    return learner.policy(
        probe, learner.initial(1), tf.constant([0, 0]), 'mode')[0].numpy()
  before, kernel = act(collector.agent), weight(collector.agent)
  for _ in range(2):
    source.act()
    source.learn()
    source.act()
    np.testing.assert_array_equal(act(collector.twin), before)
    source.join()
    assert np.any(weight(collector.agent) != kernel)
    np.testing.assert_array_equal(act(collector.twin), before)
    before, kernel = act(collector.agent), weight(collector.agent)
  source.close()
  collector.close()
  trainer.keeper.close()


def test_a_fault_of_the_thread_ends_the_run(tmp_path):
  trainer, collector, source = begin(tmp_path)
  source.act()
  source.learn()
  source.join()
  critic = collector.agent.ac.critic.trainable_variables[0]
  critic.assign(np.full(critic.shape, np.nan))
  source.act()
  source.learn()  # By the thread, which the first was not.
  with pytest.raises(cli.Fault, match='not finite at source-2: metrics: '):
    source.join()
  source.close()
  collector.close()
  trainer.keeper.close()
  assert (tmp_path / 'faults' / 'source-2.json').exists()
