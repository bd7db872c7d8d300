"""EWC: the Fisher information and the penalty."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf.baselines import dv2_finetune, ewc
from dreamerv2_base import agent
from tests.baselines import points

MODEL = 'encoder', 'rssm', 'decoder', 'reward'
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


def held(learner):
  """Pairs of the target's and the source's variables, by module."""
  ours, peer = [ewc.anchored(x) for x in (learner.target, learner.source)]
  return {name: list(zip(
      ours[name].trainable_variables, peer[name].trainable_variables,
      strict=True)) for name in ours}


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
    metrics = step(sequence(1, 2))
    norms.append([
        float(metrics[f'{name}_grad_norm']) for name in ('model', 'actor')])
  assert norms[0] == norms[1] and min(norms[0]) > 0


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
