"""EWC: what it keeps of the source while it learns the target."""

import types

import numpy as np
import pytest
import tensorflow as tf

from coworld_tf.baselines import dv2_finetune, ewc
from dreamerv2_base import agent
from tests.baselines import points

SEED = tf.constant([1, 2])
SOURCE, TARGET = points.World(), points.World(goal=-0.5, sign=-1)
# The model learns slowly, so that the source ends close to its optimum.
SLOW = {**points.SETTINGS, 'model_opt.lr': 1e-3, 'imag_horizon': 2}
WEIGHTS = 0, 1e2, 1e3, 1e4


@pytest.fixture(scope='module')
def learner(make_config):
  """A learner whose weight is a variable: one compilation serves all."""
  config = make_config(base=SLOW)
  result = build_points(config, 0)
  result.config = types.SimpleNamespace(ewc=types.SimpleNamespace(
      weight=tf.Variable(0.0), floor=config.ewc.floor))
  return result


def play(world, seed):
  return world.play(400, seed, length=5)


def build_points(config, seed):
  return ewc.FinetuneEWC(config, *[
      agent.Agent(config, points.OBS_SPACE, points.ACT_SPACE, 2 * seed + i)
      for i in range(2)])


@pytest.fixture(scope='module')
def sweep(learner, make_config):
  """Trains sources of three seeds, then targets with several weights.

  Returns:
    Per seed: states of the learner before and after each of them, by weight.
  """
  runs = []
  for seed in range(3):
    points.assign(learner, points.values(
        build_points(make_config(base=SLOW), seed)))
    data = play(SOURCE, seed)
    points.train(learner.source.train, points.batches(data, seed, 64), 300)
    points.train(learner.consolidate, points.batches(data, seed, 1), 100)
    learner.hand_over()
    run = {'start': points.values(learner)}
    for weight in (*WEIGHTS, *[1e8] * (seed == 0)):
      points.assign(learner, run['start'])
      learner.config.ewc.weight.assign(weight)
      data = play(TARGET, seed)
      points.train(learner.train_target, points.batches(data, seed), 150)
      run[weight] = points.values(learner)
    runs.append(run)
  return runs


@pytest.fixture(scope='module')
def model_loss(learner):
  """Function of a state and a world: the target's loss on new sequences."""
  loss = tf.function(
      lambda batch: learner.target.wm.loss(batch, SEED)[0], autograph=False)
  def evaluate(state, world):
    points.assign(learner, state)
    return float(loss(play(world, 99)))
  return evaluate


def held(learner):
  """Pairs of the target's and the source's variables that EWC ties."""
  ours, peer = [
      [*x.wm.opt.targets, *x.ac.actor_opt.targets]
      for x in (learner.target, learner.source)]
  return zip(ours, peer, strict=True)


def distance(pairs):
  return np.sqrt(sum(np.sum((x.numpy() - y) ** 2) for x, y in pairs))


def test_without_weight_it_is_plain_finetuning(learner, sweep):
  run = sweep[0]
  points.assign(learner, run['start'])
  config = learner.source.config
  plain = dv2_finetune.Finetune(config, learner.source, learner.target)
  learner.config.ewc.weight.assign(0.0)
  results = []
  for step in (learner.train_target, plain.train_target):
    points.assign(learner, run['start'])
    data = play(TARGET, 0)
    points.train(step, points.batches(data, 0), 100)
    results.append(points.values(learner))
  for left, right in zip(*results, strict=True):
    np.testing.assert_array_equal(left, right)


def test_with_a_huge_weight_nothing_but_the_critic_moves(
    learner, sweep, model_loss):
  run, moves = sweep[0], {}
  for weight in (0, 1e8):
    points.assign(learner, run[weight])
    critics = zip(
        learner.target.ac.critic.variables,
        learner.source.ac.critic.variables, strict=True)
    moves[weight] = (
        distance(held(learner)), distance(critics))
  assert moves[1e8][0] < 0.01 * moves[0][0]
  assert moves[1e8][1] > 0.2 * moves[0][1]
  losses = [model_loss(run[key], SOURCE) for key in ('start', 0, 1e8)]
  assert losses[1] > 1.1 * losses[0]
  np.testing.assert_allclose(losses[2], losses[0], 0.01)


@pytest.mark.parametrize('seed', range(3))
def test_more_weight_keeps_the_source_and_learns_less(
    sweep, model_loss, seed):
  source, target = [
      [model_loss(sweep[seed][weight], world) for weight in WEIGHTS]
      for world in (SOURCE, TARGET)]
  assert (np.diff(source) < 0).all(), source
  assert (np.diff(target) > 0).all(), target


def test_squares_of_batches_are_smaller(learner, sweep):
  points.assign(learner, sweep[0]['start'])
  wm, data = learner.source.wm, play(SOURCE, 0)
  @tf.function(autograph=False)
  def gradient(batch, seed):
    with tf.GradientTape() as tape:
      loss, _, _ = wm.loss(batch, seed)
    grads = tape.gradient(loss, wm.opt.targets)
    return tf.concat([tf.reshape(x, [-1]) for x in grads], 0)
  batches = points.batches(data, 0, 32)
  grads = np.array([
      gradient(next(batches), SEED + i) for i in range(50)], np.float64)
  sums = learner.fisher_sums()
  single = sum(value for name, value in sums.items() if name != 'actor')
  of_batches = np.mean(np.sum(grads ** 2, 1))
  # The mean gradient at the end is not quite zero, and no batch lessens it.
  common = np.sum(grads.mean(0) ** 2) - np.sum(grads.var(0, ddof=1)) / 50
  ratio = (single - common) / (of_batches - common)
  assert 24 < ratio < 42, ratio
  assert single > 12 * of_batches
