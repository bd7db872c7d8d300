"""EWC: the Fisher information, the penalty, and what it keeps."""

import types

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf.baselines import dv2_finetune, ewc
from dreamerv2_base import agent
from tests.baselines import points

SEED = tf.constant([1, 2])
MODEL = 'encoder', 'rssm', 'decoder', 'reward'
SOURCE, TARGET = points.World(), points.World(goal=-0.5, sign=-1)
# The model learns slowly, so that the source ends close to its optimum.
SLOW = {**points.SETTINGS, 'model_opt.lr': 1e-3, 'imag_horizon': 2}
WEIGHTS = 0, 1e2, 1e3, 1e4
VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


@pytest.fixture(scope='module')
def make(make_config):
  """Builds an untrained learner, in eager mode if nothing else is said."""
  def build(override=None, space=BOX):
    config = make_config(override)
    return ewc.FinetuneEWC(config, *[
        agent.Agent(config, VECTOR, space, seed) for seed in (1, 2)])
  return build


@pytest.fixture(scope='module')
def sequence(make_batch):
  def build(seed, batch=1):
    data = make_batch(2, seed, batch)
    return {key: tf.constant(x) for key, x in data.items()}
  return build


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
  """Pairs of the target's and the source's variables, by module."""
  ours, peer = [ewc.anchored(x) for x in (learner.target, learner.source)]
  return {name: list(zip(
      ours[name].trainable_variables, peer[name].trainable_variables,
      strict=True)) for name in ours}


def distance(pairs):
  return np.sqrt(sum(np.sum((x.numpy() - y) ** 2) for x, y in pairs))


@pytest.mark.parametrize('dtype', ['float64', 'float32'])
def test_penalty_follows_the_equation(slope, dtype):
  rng = np.random.default_rng(0)
  shapes = (3, 2), (4,)
  theta, anchor, fisher = [
      [rng.normal(size=shape) ** power for shape in shapes]
      for power in (1, 1, 2)]
  tensors = lambda arrays: [tf.constant(x, dtype) for x in arrays]
  inputs = [tensors(x) for x in (theta, anchor, fisher)]
  with tf.GradientTape() as tape:
    tape.watch(inputs)
    loss = ewc.penalty(*inputs, 6.0)
  grads, *others = tape.gradient(loss, inputs)
  oracle = lambda x: 3 * sum(
      np.sum(f * (t - a) ** 2)
      for t, a, f in zip([x, theta[1]], anchor, fisher))
  tolerance = {'float64': 1e-10, 'float32': 2e-5}[dtype]
  np.testing.assert_allclose(loss, oracle(theta[0]), tolerance)
  np.testing.assert_allclose(grads[0], slope(oracle, theta[0]), 1e-5, 1e-5)
  assert others == [[None, None]] * 2


def test_fisher_is_the_mean_of_squares_of_sequences(make, sequence):
  learner = make({'loss_scales.reward': 3.0})
  out = learner.source.wm.heads['reward'].out.mean
  out.kernel.assign(tf.zeros_like(out.kernel))
  out.bias.assign([0.4])
  errors = []
  for seed in range(4):
    batch = sequence(seed)
    learner.consolidate(batch)
    errors.append(np.mean(0.4 - batch['reward'].numpy().astype('f8')))
  assert int(learner.count) == 4
  square, = [x for x, y in zip(
      learner.squares['reward'],
      learner.source.wm.heads['reward'].trainable_variables, strict=True)
      if y is out.bias]
  expected = np.mean(np.square(3 * np.array(errors)))
  np.testing.assert_allclose(square / 4, [expected], 1e-4)
  # Of one weight, this is what the penalty multiplies.
  learner.hand_over()
  learner.target.wm.heads['reward'].out.mean.bias.assign([0.6])
  np.testing.assert_allclose(
      learner.anchor('reward'), 1e4 / 2 * expected * 0.2 ** 2, 1e-4)


def test_batches_of_sequences_are_refused(make, sequence):
  with pytest.raises(AssertionError):
    make().consolidate(sequence(0, 2))


SPACES = {
    'normal': gymnasium.spaces.Box(np.float32([-1, 0]), np.float32([1, 0])),
    'onehot': gymnasium.spaces.Discrete(2)}


@pytest.mark.parametrize('dist', SPACES)
def test_fisher_of_the_actor_has_its_closed_form(make, sequence, dist):
  learner = make({'actor.dist': dist, 'compile': 'graph'}, SPACES[dist])
  out, expected = learner.source.ac.actor.out, {}
  # Without weights the policy is the same in every state.
  out.mean.kernel.assign(tf.zeros_like(out.mean.kernel))
  out.mean.bias.assign([0.7, -0.5])
  if dist == 'onehot':
    share = 1 / (1 + np.exp(1.2))
    expected[out.mean.bias.ref()] = [share * (1 - share)] * 2
  else:
    out.std.kernel.assign(tf.zeros_like(out.std.kernel))
    std, slope = np.log(2) + 0.1, 0.5
    expected[out.mean.bias.ref()] = [1 / std ** 2, 0]
    expected[out.std.bias.ref()] = [2 * slope ** 2 / std ** 2, 0]
  batch = sequence(0)
  batch['action'] *= [1.0, 0.0]
  for _ in range(500):
    learner.consolidate(batch)
  actor = learner.source.ac.actor.trainable_variables
  squares = {x.ref(): y.numpy() / 500 for x, y in zip(
      actor, learner.squares['actor'], strict=True)}
  for ref, value in expected.items():
    np.testing.assert_allclose(squares[ref], value, 0.3)
  assert learner.consolidate.experimental_get_tracing_count() == 1
  # Actions that are never used say nothing of the weights they meet.
  rssm = learner.source.wm.rssm
  kernel, = [x for x, y in zip(
      learner.squares['rssm'], rssm.trainable_variables, strict=True)
      if y is rssm.img_in.kernel]
  assert not kernel[-1].numpy().any() and kernel[-2].numpy().any()


def test_free_nats_hide_the_prior(make, sequence):
  for free in (0.0, 100.0):
    learner = make({'kl.free': free})
    learner.consolidate(sequence(0))
    prior = {x.ref() for x in learner.source.wm.rssm.img_dist[0].variables}
    squares = [x for x, y in zip(
        learner.squares['rssm'],
        learner.source.wm.rssm.trainable_variables, strict=True)
        if y.ref() in prior]
    assert len(squares) == 2
    assert all(x.numpy().any() == (free == 0) for x in squares)


def test_everything_but_the_critics_has_an_anchor(make):
  learner = make({'pred_discount': True})
  source, target = learner.source, learner.target
  pairs = sum(held(learner).values(), [])
  assert [x.ref() for x, _ in pairs] == [x.ref() for x in (
      *target.wm.opt.targets, *target.ac.actor_opt.targets)]
  assert [x.ref() for _, x in pairs] == [x.ref() for x in (
      *source.wm.opt.targets, *source.ac.actor_opt.targets)]
  squares = sum(map(list, learner.squares.values()), [])
  assert [x.shape for x in squares] == [x.shape for x, _ in pairs]


def shifted(learner, scale=0.1):
  """Moves all weights of the target; returns what the penalties must be."""
  rng = np.random.default_rng(0)
  config, terms = learner.config.ewc, {}
  for name, pairs in held(learner).items():
    total = 0.0
    for (var, anchor), square in zip(
        pairs, learner.squares[name], strict=True):
      var.assign_add(rng.normal(size=var.shape).astype('f4') * scale)
      fisher = np.maximum(
          square.numpy().astype('f8') / int(learner.count), config.floor)
      total += np.sum(fisher * (var.numpy().astype('f8') - anchor) ** 2)
    terms[name] = config.weight / 2 * total
  return terms


def test_penalties_are_in_the_losses(make, sequence):
  learner = make({'ewc.weight': 50.0, 'ewc.floor': 1e-2})
  for seed in range(2):
    learner.consolidate(sequence(seed))
  learner.hand_over()
  start = points.values(learner)
  assert all(float(learner.anchor(name)) == 0 for name in learner.squares)
  terms = shifted(learner)
  for var in learner.target.ac.critic.variables:
    var.assign_add(tf.ones_like(var))
  begin = points.values(learner)
  metrics = learner.train_target(sequence(5, 2))
  model = sum(terms[name] for name in MODEL)
  np.testing.assert_allclose(metrics['ewc_model'], model, 1e-4)
  np.testing.assert_allclose(metrics['ewc_actor'], terms['actor'], 1e-4)
  np.testing.assert_allclose(
      metrics['model_loss'], model + sum(
          metrics[f'{key}_loss'] for key in ('kl', 'vector', 'reward')), 1e-4)
  # The imagined sequences of the plain agent differ by one small update.
  points.assign(learner, begin)
  plain = dv2_finetune.Finetune(*[
      getattr(learner, key) for key in ('config', 'source', 'target')])
  other = plain.train_target(sequence(5, 2))
  np.testing.assert_allclose(
      metrics['actor_loss'] - other['actor_loss'], terms['actor'], 1e-2)
  np.testing.assert_allclose(
      metrics['critic_loss'], other['critic_loss'], 1e-2)
  points.assign(learner, start)


def test_first_update_is_that_of_plain_finetuning(make, sequence):
  learner = make({'ewc.weight': 1e8})
  learner.consolidate(sequence(0))
  learner.hand_over()
  start, norms = points.values(learner), []
  for step in (learner.train_target, learner.target.train):
    points.assign(learner, start)
    norms.append(step(sequence(1, 2))['model_grad_norm'])
  assert norms[0] == norms[1] > 0


def test_sums_by_module(make, sequence):
  learner = make({'ewc.floor': 1e3})
  assert set(learner.fisher_sums().values()) == {0.0}
  for seed in range(3):
    learner.consolidate(sequence(seed))
  sums = learner.fisher_sums()
  assert set(sums) == {*MODEL, 'actor'}
  for name, value in sums.items():
    expected = sum(np.sum(x.numpy()) for x in learner.squares[name]) / 3
    np.testing.assert_allclose(value, expected, 1e-5)


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
        distance(sum(held(learner).values(), [])), distance(critics))
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
  def squares(batch, seed):
    with tf.GradientTape() as tape:
      loss, _, _ = wm.loss(batch, seed)
    grads = tape.gradient(loss, wm.opt.targets)
    return tf.add_n([tf.reduce_sum(tf.square(x)) for x in grads])
  batches = points.batches(data, 0, 32)
  mean = np.mean([squares(next(batches), SEED + i) for i in range(50)])
  sums = learner.fisher_sums()
  ratio = sum(sums[name] for name in MODEL) / mean
  # Near 32; less, since the mean gradient at the end is not quite zero.
  assert 12 < ratio < 40, ratio


@pytest.mark.parametrize('mode', ['graph', 'xla'])
def test_execution_modes_agree(make, sequence, mode):
  results = []
  for compiled in ('eager', mode):
    learner = make({'compile': compiled, 'ewc.weight': 50.0})
    for seed in range(2):
      learner.consolidate(sequence(seed))
    learner.hand_over()
    shifted(learner)
    metrics = learner.train_target(sequence(5, 2))
    results.append((learner, metrics))
  (eager, expected), (other, metrics) = results
  for name in eager.squares:
    for left, right in zip(eager.squares[name], other.squares[name]):
      np.testing.assert_allclose(left, right, 1e-3, 1e-6)
  for key, value in expected.items():
    np.testing.assert_allclose(metrics[key], value, 1e-3, 1e-5)


def test_interrupted_consolidation_goes_on(make, sequence, tmp_path):
  whole, first, second = make(), make(), make()
  for seed in range(3):
    whole.consolidate(sequence(seed))
  first.consolidate(sequence(0))
  path = tf.train.Checkpoint(learner=first).save(str(tmp_path / 'saved'))
  tf.train.Checkpoint(learner=second).restore(path).assert_consumed()
  for seed in (1, 2):
    second.consolidate(sequence(seed))
  for left, right in zip(
      points.values(whole), points.values(second), strict=True):
    np.testing.assert_array_equal(left, right)


def test_low_precision(make, sequence):
  with pytest.raises(ValueError, match="^precision: '16' .* bfloat16$"):
    make({'precision': '16'})
  sums = []
  for precision in ('32', 'bfloat16'):
    learner = make({'precision': precision})
    for seed in range(3):
      learner.consolidate(sequence(seed))
    sums.append(learner.fisher_sums())
  for name in ('decoder', 'reward'):
    np.testing.assert_allclose(sums[1][name], sums[0][name], 0.2)
