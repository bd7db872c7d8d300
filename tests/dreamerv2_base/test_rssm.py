"""The latent model, with case F, the balanced KL."""

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import layers, rssm, stateless

SEED = tf.constant([1, 2])
BATCH, LENGTH, EMBED, ACTION = 2, 4, 5, 3
SMALL = {'stoch': 4, 'deter': 6, 'hidden': 7}
MODES = [True, False]


def make(discrete=3, **options):
  return rssm.RSSM(
      EMBED, ACTION, layers.Init(0), discrete=discrete, **SMALL, **options)


def inputs(seed=0, first=(0,)):
  rng = np.random.default_rng(seed)
  draw = lambda size: tf.constant(
      rng.normal(size=[BATCH, LENGTH, size]), tf.float32)
  is_first = np.zeros([BATCH, LENGTH], bool)
  is_first[:, list(first)] = True
  return draw(EMBED), draw(ACTION), tf.constant(is_first)


def assert_close(left, right):
  tf.nest.map_structure(
      lambda x, y: np.testing.assert_allclose(x, y, 1e-5, 1e-6), left, right)


def softmax(x):
  x = np.exp(x - x.max(-1, keepdims=True))
  return x / x.sum(-1, keepdims=True)


def categorical(left, right):
  """KL(left || right) by variable and its gradients to left and right."""
  q, p = softmax(left['logit']), softmax(right['logit'])
  kl = (q * np.log(q / p)).sum(-1, keepdims=True)
  to_left = {'logit': q * (np.log(q / p) - kl)}
  return kl[..., 0], to_left, {'logit': p - q}


def gaussian(left, right):
  """The same for normal distributions."""
  gap, s, t = left['mean'] - right['mean'], left['std'], right['std']
  kl = np.log(t / s) + (s ** 2 + gap ** 2) / (2 * t ** 2) - 0.5
  to_left = {'mean': gap / t ** 2, 'std': s / t ** 2 - 1 / s}
  to_right = {
      'mean': -gap / t ** 2, 'std': 1 / t - (s ** 2 + gap ** 2) / t ** 3}
  return kl, to_left, to_right


KL = {3: categorical, 0: gaussian}


def states(discrete, dtype='float64'):
  """Parameters of posteriors and of priors."""
  rng = np.random.default_rng(0)
  if discrete:
    arrays = {'logit': rng.normal(size=[2, BATCH, LENGTH, 4, 3])}
  else:
    arrays = {'mean': rng.normal(size=[2, BATCH, LENGTH, 4]),
              'std': rng.uniform(0.5, 1.5, [2, BATCH, LENGTH, 4])}
  return [
      {key: x[index].astype(dtype) for key, x in arrays.items()}
      for index in (0, 1)]


@pytest.mark.parametrize('dtype', ['float64', 'float32'])
@pytest.mark.parametrize('discrete', KL)
@pytest.mark.parametrize('forward', MODES)
@pytest.mark.parametrize('free_avg', MODES)
@pytest.mark.parametrize('free', [0.0, 2.0, 99.0])
@pytest.mark.parametrize('balance', [0.8, 0.5])
def test_kl_is_balanced(discrete, forward, free_avg, free, balance, dtype):
  given = states(discrete, dtype)
  post, prior = [
      {key: x.astype('f8') for key, x in state.items()} for state in given]
  inputs = tf.nest.map_structure(tf.constant, given)
  with tf.GradientTape() as tape:
    tape.watch(inputs)
    loss, value = make(discrete).kl_loss(
        *inputs, forward, balance, free, free_avg)
  grads = tape.gradient(loss, inputs)
  if forward:
    kl, to_prior, to_post = KL[discrete](prior, post)
  else:
    kl, to_post, to_prior = KL[discrete](post, prior)
  kl = kl.sum(-1)
  shares = (1 - balance, balance)
  if balance == 0.5:  # The plain KL, not halves of it.
    shares, free_avg = (1, 1), False
  if free_avg:
    expected, active = max(kl.mean(), free), kl.mean() > free
  else:
    expected, active = np.maximum(kl, free).mean(), kl > free
  active = np.broadcast_to(active, kl.shape) / kl.size
  tolerance = {'float64': 1e-10, 'float32': 2e-5}[dtype]
  np.testing.assert_allclose(value, kl, tolerance)
  np.testing.assert_allclose(loss, expected, tolerance)
  for grad, share, exact in zip(grads, shares, (to_post, to_prior)):
    for key, slopes in exact.items():
      factor = share * active.reshape(kl.shape + (1,) * (slopes.ndim - 2))
      np.testing.assert_allclose(
          grad[key], factor * slopes, tolerance, tolerance / kl.size)


@pytest.mark.parametrize('discrete', KL)
def test_free_nats_differ_between_averages(discrete):
  kl = KL[discrete](*states(discrete))[0].sum(-1)
  assert kl.min() < 2 < kl.max()  # What the case of 2 nats relies on.


@pytest.mark.parametrize('discrete, key', [
    (3, 'logit'), (0, 'mean'), (0, 'std')])
@pytest.mark.parametrize('forward', MODES)
@pytest.mark.parametrize('side', [0, 1])
@pytest.mark.parametrize('balance, moves', [
    (0.0, [True, False]), (1.0, [False, True]), (0.5, [True, True])])
def test_gradient_is_the_slope_of_the_side_that_moves(
    slope, discrete, key, forward, side, balance, moves):
  model = make(discrete)
  given = tf.nest.map_structure(
      lambda x: tf.constant(x[:1, :2]), states(discrete))
  def loss(x):
    both = list(given)
    both[side] = {**both[side], key: x}
    return model.kl_loss(*both, forward, balance, 0.0)[0]
  start = given[side][key]
  with tf.GradientTape() as tape:
    tape.watch(start)
    value = loss(start)
  grad = tape.gradient(value, start, unconnected_gradients='zero')
  expected = slope(lambda x: loss(tf.constant(x)), start.numpy())
  np.testing.assert_allclose(grad, moves[side] * expected, 1e-8, 1e-8)


@pytest.mark.parametrize('discrete', [3, 0])
def test_shapes_and_types(discrete):
  model = make(discrete)
  post, prior = model.observe(*inputs(), SEED)
  stoch = (BATCH, LENGTH, 4, 3) if discrete else (BATCH, LENGTH, 4)
  names = ['logit'] if discrete else ['mean', 'std']
  shapes = {
      'deter': (BATCH, LENGTH, 6), **dict.fromkeys(names + ['stoch'], stoch)}
  shape = lambda state: {key: tuple(x.shape) for key, x in state.items()}
  assert shape(post) == shapes
  # Nothing reads samples of the prior.
  assert {**shape(prior), 'stoch': stoch} == shapes != shape(prior)
  assert model.feat_size == (18 if discrete else 10)
  feat = model.get_feat(post)
  assert feat.shape == (BATCH, LENGTH, model.feat_size)
  flat = tf.reshape(post['stoch'], [BATCH, LENGTH, -1])
  np.testing.assert_array_equal(feat, tf.concat([flat, post['deter']], -1))
  if discrete:
    np.testing.assert_allclose(tf.reduce_sum(post['stoch'], -1), 1.0, 1e-6)
  else:
    assert post['std'].numpy().min() >= 0.1
  initial = model.initial(7)
  assert {key: tuple(x.shape) for key, x in initial.items()} == {
      key: (7, *shape[2:]) for key, shape in shapes.items()}
  assert not any(np.any(x) for x in initial.values())


@pytest.mark.parametrize('dtype', [tf.bfloat16, tf.float16])
def test_low_precision_states_and_float32_loss(dtype):
  model = rssm.RSSM(
      EMBED, ACTION, layers.Init(0, dtype), discrete=3, **SMALL)
  post, prior = model.observe(*inputs(), SEED)
  assert {key: x.dtype for key, x in post.items()} == {
      'stoch': dtype, 'logit': tf.float32, 'deter': tf.float32}
  assert model.get_feat(post).dtype == dtype
  loss, value = model.kl_loss(post, prior)
  assert loss.dtype == value.dtype == tf.float32


@pytest.mark.parametrize('std_act, function', [
    ('softplus', lambda x: np.log1p(np.exp(x))),
    ('sigmoid', lambda x: 1 / (1 + np.exp(-x))),
    ('sigmoid2', lambda x: 2 / (1 + np.exp(-x / 2)))])
def test_standard_deviation(std_act, function):
  model = make(0, std_act=std_act, min_std=0.2)
  model.img_dist[0].bias.assign(np.linspace(-3, 3, 8))
  model.img_dist[0].kernel.assign(tf.zeros_like(model.img_dist[0].kernel))
  stats = model.prior_stats(tf.zeros([1, 6]))
  raw = np.linspace(-3, 3, 8)
  np.testing.assert_allclose(stats['mean'][0, 0], raw[:4], 2e-5)
  np.testing.assert_allclose(
      stats['std'][0, 0], function(raw[4:]) + 0.2, 2e-5)


@pytest.mark.parametrize('ensemble', [1, 3])
@pytest.mark.parametrize('discrete', [3, 0])
def test_observe_is_a_loop_of_steps(discrete, ensemble):
  model = make(discrete, ensemble=ensemble, norm='layer')
  embed, action, is_first = inputs(first=(0, 2))
  start, _ = model.observe(*inputs(seed=1), SEED)
  start = state = {key: x[:, -1] for key, x in start.items()}
  posts, priors = [], []
  for index, seed in enumerate(stateless.split(SEED, LENGTH)):
    state, prior = model.obs_step(
        state, action[:, index], embed[:, index], is_first[:, index], seed)
    del prior['stoch']
    posts.append(state)
    priors.append(prior)
  stack = lambda *xs: tf.stack(xs, 1)
  expected = [tf.nest.map_structure(stack, *x) for x in (posts, priors)]
  result = model.observe(embed, action, is_first, SEED, start)
  assert_close(list(result), expected)


def test_imagine_is_a_loop_of_steps():
  model, (_, action, _) = make(), inputs()
  start = state = {
      key: x[:, 0] for key, x in model.observe(*inputs(), SEED)[0].items()}
  states = []
  for index, seed in enumerate(stateless.split(SEED, LENGTH)):
    state = model.img_step(state, action[:, index], seed)
    states.append(state)
  expected = tf.nest.map_structure(lambda *xs: tf.stack(xs, 1), *states)
  assert_close(model.imagine(action, start, SEED), expected)


@pytest.mark.parametrize('discrete', [3, 0])
def test_first_step_forgets_state_and_action(discrete):
  model = make(discrete)
  embed, action, is_first = inputs(first=(2,))
  others = inputs(seed=1)
  other_embed = tf.concat([others[0][:, :2], embed[:, 2:]], 1)
  # The action of the first row led there from the episode before.
  other_action = tf.concat([others[1][:, :3], action[:, 3:]], 1)
  one, _ = model.observe(embed, action, is_first, SEED)
  two, _ = model.observe(other_embed, other_action, is_first, SEED)
  late = lambda state: {key: x[:, 2:] for key, x in state.items()}
  assert_close(late(one), late(two))
  assert np.abs(one['deter'][:, 1] - two['deter'][:, 1]).max() > 1e-3
  three, _ = model.observe(
      other_embed, other_action, tf.zeros_like(is_first), SEED)
  assert np.abs(one['deter'][:, 2] - three['deter'][:, 2]).max() > 1e-3
  state = {key: x[:, 1] for key, x in one.items()}
  assert_close(
      model.obs_step(state, action[:, 2], embed[:, 2], [True] * 2, SEED),
      model.obs_step(
          model.initial(2), tf.zeros([2, ACTION]), embed[:, 2], [False] * 2,
          SEED))


def test_mode_instead_of_samples():
  model, (embed, action, is_first) = make(), inputs()
  args = model.initial(2), action[:, 0], embed[:, 0], is_first[:, 0]
  results = [model.obs_step(*args, SEED + n, sample=False) for n in (0, 9)]
  assert_close(*results)
  post = results[0][0]
  np.testing.assert_array_equal(
      post['stoch'], np.eye(3)[np.argmax(post['logit'], -1)])


def test_each_head_of_the_ensemble_is_drawn():
  model, (_, action, _) = make(ensemble=3), inputs()
  state, drawn = model.initial(BATCH), set()
  for seed in stateless.split(SEED, 20):
    prior = model.img_step(state, action[:, 0], seed)
    heads = model.prior_stats(prior['deter'])['logit']
    assert heads.shape == (3, BATCH, 4, 3)
    same = [np.allclose(prior['logit'], head, 1e-5) for head in heads]
    assert sum(same) == 1
    drawn.add(same.index(True))
  assert drawn == {0, 1, 2}
