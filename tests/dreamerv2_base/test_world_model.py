import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import layers, stateless, world_model

SEED = tf.constant([1, 2])
VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
IMAGE = {'image': gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)}


@pytest.fixture
def make(make_config):
  def build(override=None):
    return world_model.WorldModel(
        make_config(override), VECTOR, 2, layers.Init(0))
  return build


@pytest.fixture
def batch(make_batch):
  return {key: tf.constant(x) for key, x in make_batch().items()}


def gradient(tape, loss, variables):
  """Whether any of the variables has a gradient that is not zero."""
  grads = tape.gradient(loss, variables, unconnected_gradients='zero')
  return any(np.any(x) for x in grads)


def test_loss_is_a_weighted_sum(make, batch):
  scales = {'kl': 0.5, 'reward': 3.0, 'discount': 7.0}
  model = make({
      'pred_discount': True, 'discount': 0.9,
      **{f'loss_scales.{key}': x for key, x in scales.items()}})
  loss, outs, metrics = model.loss(batch, SEED)
  losses = outs['losses']
  assert set(losses) == {'kl', 'vector', 'reward', 'discount'}
  expected = losses['vector'] + sum(
      scale * losses[key] for key, scale in scales.items())
  np.testing.assert_allclose(loss, expected, 2e-5)
  for key, value in losses.items():
    assert metrics[f'{key}_loss'] is value
  post = outs['post']
  kl, value = model.rssm.kl_loss(post, outs['prior'], free=0.0)
  np.testing.assert_allclose(losses['kl'], kl, 2e-5)
  np.testing.assert_allclose(metrics['kl'], tf.reduce_mean(value), 2e-5)


def test_likelihoods_sum_over_events_and_average_over_frames(make, batch):
  model = make({'pred_discount': True, 'discount': 0.9})
  _, outs, _ = model.loss(batch, SEED)
  feat, losses = outs['feat'], outs['losses']
  constant = np.log(2 * np.pi) / 2
  reward = model.heads['reward'](feat).mode() - batch['reward']
  np.testing.assert_allclose(
      losses['reward'], np.mean(reward ** 2) / 2 + constant, 2e-5)
  vector = model.heads['decoder'](feat)['vector'].mode() - batch['vector']
  np.testing.assert_allclose(
      losses['vector'],
      np.sum(vector ** 2) / 2 / 6 + 5 * constant, 2e-5)
  prob = model.heads['discount'](feat).mean().numpy()
  label = 0.9 * (1 - batch['is_terminal'].numpy())
  np.testing.assert_allclose(losses['discount'], -np.mean(
      label * np.log(prob) + (1 - label) * np.log(1 - prob)), 2e-5)


def test_terms_replace_or_add(make, batch):
  model = make({'loss_scales.reward': 3.0})
  plain, outs, _ = model.loss(batch, SEED)
  seen = []
  def term(value):
    def call(given):
      seen.append(given)
      return tf.constant(value), {f'was_{value}': value}
    return call
  loss, _, metrics = model.loss(
      batch, SEED, {'reward': term(10.0), 'other': term(100.0)})
  expected = plain + 3 * (10 - outs['losses']['reward']) + 100
  np.testing.assert_allclose(loss, expected, 2e-5)
  assert {'was_10.0', 'was_100.0'} < set(metrics)
  for given in seen:
    assert {'obs', 'embed', 'post', 'feat', 'seed'} < set(given)
    np.testing.assert_allclose(
        given['losses']['reward'], outs['losses']['reward'])
  np.testing.assert_allclose(metrics['reward_loss'], outs['losses']['reward'])


@pytest.mark.parametrize('heads', [['decoder'], ['decoder', 'reward']])
def test_heads_train_the_representation_if_named(make, batch, heads):
  model = make({'grad_heads': heads})
  with tf.GradientTape(persistent=True) as tape:
    _, outs, _ = model.loss(batch, SEED)
    loss = outs['losses']['reward']
  assert gradient(tape, loss, model.heads['reward'].variables)
  reaches = gradient(tape, loss, model.encoder.variables)
  assert reaches == ('reward' in heads)


def test_unknown_head_is_named(make):
  with pytest.raises(ValueError, match='rewards.*among'):
    make({'grad_heads': ['decoder', 'rewards']})


@pytest.mark.parametrize('name, function', [
    ('identity', lambda x: x), ('sign', np.sign), ('tanh', np.tanh)])
def test_preprocess(make, make_batch, name, function):
  model = make({'clip_rewards': name, 'discount': 0.9})
  data = make_batch(image=True)
  obs = model.preprocess(
      {**{key: tf.constant(x) for key, x in data.items()},
       'log_speed': tf.zeros([2, 3])})
  assert set(obs) == {*data, 'discount'}
  np.testing.assert_allclose(
      obs['image'], data['image'].astype('f8') / 255 - 0.5, 2e-5, 1e-7)
  np.testing.assert_allclose(obs['reward'], function(data['reward']), 2e-5)
  np.testing.assert_allclose(
      obs['discount'], np.where(data['is_terminal'], 0, 0.9), 2e-5)


def imagine(model, batch, mask=1.0):
  """A sequence of four steps; the actor copies from the features."""
  _, outs, _ = model.loss(batch, SEED)
  seen = []
  def act(feat, seed):
    seen.append(feat)
    noise = stateless.normal([6, 2], seed)
    return (tf.tanh(feat[:, :2]) + noise) * mask, {'mean': feat[:, :2]}
  return outs['post'], model.imagine(
      act, outs['post'], batch['is_terminal'], 4, SEED)


def test_imagined_states_follow_from_actions(make, batch):
  model = make()
  post, seq = imagine(model, batch)
  flat = {key: tf.reshape(post[key], [6, *post[key].shape[2:]])
          for key in ('stoch', 'deter')}
  policy = seq.pop('policy')['mean']
  np.testing.assert_array_equal(policy, seq['feat'][:-1, :, :2])
  assert {key: x.shape[:2] for key, x in seq.items()} == dict.fromkeys(
      ('stoch', 'deter', 'feat', 'action', 'discount', 'weight'), (5, 6))
  np.testing.assert_array_equal(seq['action'][0], np.zeros([6, 2]))
  np.testing.assert_allclose(seq['feat'], model.rssm.get_feat(seq), 2e-5)
  for key, value in flat.items():
    np.testing.assert_array_equal(seq[key][0], value)
  for index, seed in enumerate(stateless.split(SEED, 4)):
    act_seed, step_seed = stateless.split(seed, 2)
    state = {key: seq[key][index] for key in flat}
    action = seq['action'][index + 1]
    expected = tf.tanh(seq['feat'][index][:, :2]) + stateless.normal(
        [6, 2], act_seed)
    np.testing.assert_allclose(action, expected, 1e-5, 1e-6)
    following = model.rssm.img_step(state, action, step_seed)
    for key in flat:
      np.testing.assert_allclose(
          seq[key][index + 1], following[key], 1e-5, 1e-6)


def test_constant_discount_without_a_head(make, batch):
  _, seq = imagine(make({'discount': 0.9}), batch)
  np.testing.assert_allclose(seq['discount'], np.full([5, 6], 0.9), 2e-5)
  np.testing.assert_allclose(
      seq['weight'], np.tile(0.9 ** np.arange(5)[:, None], 6), 2e-5)


def test_discount_head_and_terminal_starts(make, batch):
  model = make({'pred_discount': True, 'discount': 0.9})
  _, seq = imagine(model, batch)
  expected = model.heads['discount'](seq['feat']).mean().numpy()
  expected[0] = np.where(batch['is_terminal'], 0, 0.9).reshape(-1)
  assert (expected[0] == 0).any() and (expected[0] != 0).any()
  np.testing.assert_allclose(seq['discount'], expected, 2e-5)
  weight = np.cumprod(np.concatenate([np.ones([1, 6]), expected[:-1]]), 0)
  np.testing.assert_allclose(seq['weight'], weight, 2e-5)


def test_actor_sees_constant_features(make, batch):
  model = make()
  _, outs, _ = model.loss(batch, SEED)
  start = {key: outs['post'][key] for key in ('stoch', 'deter')}
  shift = tf.zeros([2])
  def run(act):
    with tf.GradientTape(persistent=True) as tape:
      tape.watch([start, shift])
      seq = model.imagine(act, start, batch['is_terminal'], 2, SEED)
      first, last = seq['action'][1], seq['feat'][2]
    return tape, first, last
  tape, action, feat = run(lambda feat, seed: (feat[:, :2] + shift, {}))
  assert not gradient(tape, action, [start['deter'], start['stoch']])
  assert gradient(tape, feat, [shift])  # Through the dynamics.
  assert gradient(tape, feat, [start['deter']])


def test_video_compares_truth_and_prediction(make_config, make_batch):
  config = make_config({'encoder.cnn_depth': 1, 'decoder.cnn_depth': 1}, {})
  model = world_model.WorldModel(config, IMAGE, 2, layers.Init(0))
  data = make_batch(image=True, batch=7, length=7)
  batch = {key: tf.constant(x) for key, x in data.items()}
  video = model.video(batch, SEED)['image'].numpy()
  assert video.shape == (7, 3 * 64, 6 * 64, 3)
  assert video.min() >= 0 and video.max() <= 1
  truth = np.concatenate(list(data['image'][:6] / 255), 2)
  np.testing.assert_allclose(video[:, :64], truth, 0, 1e-6)
  error = (video[:, 64:128] - video[:, :64] + 1) / 2
  inside = (video[:, 64:128] > 0) & (video[:, 64:128] < 1)
  np.testing.assert_allclose(video[:, 128:][inside], error[inside], 0, 1e-5)
  # Frames after the context are not seen by the model.
  data['image'][:, 5:] = 0
  changed = model.video(
      {key: tf.constant(x) for key, x in data.items()}, SEED)['image'].numpy()
  np.testing.assert_allclose(changed[:, 64:128], video[:, 64:128], 0, 1e-6)
  loss, _, _ = model.loss(batch, SEED)
  assert np.isfinite(loss)
