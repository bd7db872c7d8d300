import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import agent

VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
IMAGE = {'image': gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)}
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
SEED = tf.constant([1, 2])


@pytest.fixture(scope='module')
def train(make_config, make_batch):
  """Builds an agent and makes updates; returns it and the metrics."""
  def run(override=None, updates=1, space=BOX, obs_space=VECTOR):
    base = {} if obs_space is IMAGE else None
    config = make_config(override, *([base] if base is not None else []))
    learner = agent.Agent(config, obs_space, space, seed=3)
    metrics = {}
    for index in range(updates):
      data = make_batch(seed=index, image=obs_space is IMAGE)
      metrics = learner.train(
          {key: tf.constant(x) for key, x in data.items()})
    return learner, {key: float(x) for key, x in metrics.items()}
  return run


@pytest.fixture(scope='module')
def eager(train):
  return train(updates=2)


@pytest.fixture(scope='module')
def graph(train):
  return train({'compile': 'graph'}, updates=2)


def values(learner):
  return [x.numpy() for x in learner.variables]


def obs(count=4):
  rng = np.random.default_rng(0)
  flags = np.zeros(count, bool)
  return {
      'vector': rng.normal(size=[count, 5]).astype('f4'),
      'reward': np.zeros(count, 'f4'), 'is_first': flags, 'is_last': flags,
      'is_terminal': flags}


def test_all_variables_exist_before_training(train, graph):
  fresh, _ = train(updates=0)
  names = lambda learner: [(x.name, x.shape) for x in learner.variables]
  assert names(fresh) == names(graph[0])
  moved = [np.any(x != y) for x, y in zip(values(fresh), values(graph[0]))]
  assert sum(moved) > len(moved) / 2
  assert int(graph[0].updates) == 2


def test_optimizers_share_nothing_and_miss_nothing(eager):
  learner, _ = eager
  lists = [opt.targets for opt in (
      learner.wm.opt, learner.ac.actor_opt, learner.ac.critic_opt)]
  refs = [var.ref() for variables in lists for var in variables]
  assert len(refs) == len(set(refs))
  slow = {var.ref() for var in learner.ac.slow_critic.variables}
  expected = {var.ref() for var in learner.trainable_variables} - slow
  assert set(refs) == expected


def test_seed_decides_weights_and_noise(train, eager):
  again, metrics = train(updates=2)
  assert metrics == eager[1]
  for left, right in zip(values(again), values(eager[0])):
    np.testing.assert_array_equal(left, right)


def test_noise_differs_between_updates(make_config, make_batch):
  config = make_config({'model_opt.lr': 0, 'kl.free': 9.0})
  learner = agent.Agent(config, VECTOR, BOX)
  batch = {key: tf.constant(x) for key, x in make_batch().items()}
  losses = [float(learner.update_model(batch)['vector_loss'])
            for _ in range(2)]
  assert losses[0] != losses[1]


@pytest.mark.parametrize('precision', ['bfloat16', '16'])
def test_actions_are_float32_in_low_precision(train, precision):
  learner, _ = train({'precision': precision}, updates=0)
  action, _ = learner.policy(obs(), learner.initial(4), SEED, 'train')
  assert action.dtype == tf.float32 and np.isfinite(action).all()


def test_evaluation_takes_the_mode(train, eager):
  learner, _ = eager
  act = lambda learner, seed, mode: learner.policy(
      obs(), learner.initial(4), seed, mode)[0].numpy()
  action = act(learner, SEED, 'eval')
  np.testing.assert_array_equal(action, act(learner, SEED, 'eval'))
  assert np.abs(action - act(learner, SEED, 'train')).max() > 0.01
  _, (latent, _) = learner.policy(obs(), learner.initial(4), SEED, 'eval')
  feat = learner.wm.rssm.get_feat(latent)
  np.testing.assert_allclose(action, learner.ac.actor(feat).mode(), 1e-5)
  fixed, _ = train({'eval_state_mean': True}, updates=0)
  np.testing.assert_array_equal(
      act(fixed, SEED, 'eval'), act(fixed, SEED + 1, 'eval'))


@pytest.mark.parametrize('key, mode, other', [
    ('expl_noise', 'train', 'eval'), ('eval_noise', 'eval', 'train')])
def test_noise_on_actions(train, key, mode, other):
  plain, _ = train(updates=0)
  noisy, _ = train({key: 0.8}, updates=0)
  act = lambda learner, mode: learner.policy(
      obs(200), learner.initial(200), SEED, mode)[0].numpy()
  np.testing.assert_array_equal(act(plain, other), act(noisy, other))
  noise = act(noisy, mode) - act(plain, mode)
  inside = np.abs(act(noisy, mode)) < 1
  assert np.abs(act(noisy, mode)).max() == 1
  assert 0.2 < noise[inside].std() < 0.8


def test_policy_remembers_and_resets(eager):
  learner, _ = eager
  first, state = learner.policy(obs(), learner.initial(4), SEED, 'eval')
  second, _ = learner.policy(obs(), state, SEED, 'eval')
  assert np.abs(first - second).max() > 1e-4
  again, _ = learner.policy(
      {**obs(), 'is_first': np.ones(4, bool)}, state, SEED, 'eval')
  np.testing.assert_allclose(again, first, 1e-5)


def test_unused_dimension_stays_zero_under_noise(train):
  space = gymnasium.spaces.Box(np.float32([-1, 0]), np.float32([1, 0]))
  learner, metrics = train({'expl_noise': 0.5}, space=space)
  action, _ = learner.policy(obs(), learner.initial(4), SEED, 'train')
  assert np.all(action[:, 1] == 0) and np.all(action[:, 0] != 0)
  assert np.isfinite(metrics['actor_loss'])


@pytest.mark.parametrize('noise', [0.0, 0.5])
def test_discrete_actions(train, noise):
  space = gymnasium.spaces.Discrete(2)
  learner, metrics = train(
      {'pred_discount': True, 'expl_noise': noise}, space=space)
  assert np.isfinite(list(metrics.values())).all()
  assert learner.ac.grad == 'reinforce'
  for mode in ('train', 'eval'):
    action, _ = learner.policy(obs(50), learner.initial(50), SEED, mode)
    np.testing.assert_allclose(tf.reduce_max(action, -1), 1.0, 1e-6)
    np.testing.assert_allclose(tf.reduce_sum(action, -1), 1.0, 1e-6)


@pytest.mark.parametrize('override', [
    {'actor.dist': 'tanh_normal', 'actor_grad': 'both'},
    {'actor.sample_grad': 'exact', 'rssm.ensemble': 2},
    {'rssm.discrete': 0, 'rssm.norm': 'layer', 'rssm.norm_gru': False},
    {'actor.dist': 'normal', 'actor_grad': 'reinforce',
     'slow_baseline': False}])
def test_variants_train_and_act(train, override):
  learner, metrics = train(override)
  assert np.isfinite(list(metrics.values())).all()
  for mode in ('train', 'eval'):
    action, _ = learner.policy(obs(), learner.initial(4), SEED, mode)
    assert action.shape == (4, 2) and np.isfinite(action).all()


def test_image_agent_trains_and_reports(train, make_batch):
  learner, metrics = train({'rssm.stoch': 2}, obs_space=IMAGE)
  assert np.isfinite(list(metrics.values())).all()
  batch = {key: tf.constant(x) for key, x in make_batch(
      image=True, length=6).items()}
  assert learner.report(batch)['image'].shape == (6, 3 * 64, 2 * 64, 3)


def test_model_update_leaves_behavior_alone(train, make_batch):
  learner, _ = train(updates=0)
  before = values(learner.ac), values(learner.wm)
  learner.update_model(
      {key: tf.constant(x) for key, x in make_batch().items()})
  same = [np.array_equal(x, y) for x, y in zip(before[0], values(learner.ac))]
  moved = [not np.array_equal(x, y) for x, y in zip(
      before[1], values(learner.wm))]
  assert all(same) and all(moved) and int(learner.updates) == 1


def test_policy_for_drivers_has_a_seed_for_each_call(eager):
  learner, _ = eager
  policy = agent.AgentPolicy(learner, 5, 'train')
  data = {**obs(), 'log_speed': np.zeros(4)}
  one, state = policy(data, None)
  two, _ = policy(data, None)
  later = agent.AgentPolicy(learner, 5, 'train', calls=1)
  assert one['action'].shape == (4, 2) and len(state) == 2
  assert np.abs(one['action'] - two['action']).max() > 1e-3
  np.testing.assert_array_equal(later(data, None)[0]['action'], two['action'])
