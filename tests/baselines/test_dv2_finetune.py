"""DV2 Finetune: what is handed over, and what the target makes of it."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import action_adapter
from coworld_tf.baselines import dv2_finetune
from dreamerv2_base import agent
from envs import driver
from tests.baselines import points

SEED = tf.constant([1, 2])
WORLD = points.World()
RELATED = points.World(goal=-0.5)


@pytest.fixture(scope='module')
def make(make_config):
  def build(override=None, seed=0):
    config = make_config(override, points.SETTINGS)
    return dv2_finetune.Finetune(config, *[
        agent.Agent(config, points.OBS_SPACE, points.ACT_SPACE, 2 * seed + i)
        for i in range(2)])
  return build


@pytest.fixture(scope='module')
def trained(make):
  """A learner whose source collected data and learned, and these data."""
  learner = make({'model_opt.lr': 3e-3, 'imag_horizon': 5})
  data = WORLD.play(200, 0)
  for index in range(4):
    points.train(learner.source.train, points.batches(data, index), 150)
    policy = agent.AgentPolicy(learner.source, index, 'train')
    new = WORLD.play(100, index + 1, policy)
    data = {key: np.concatenate([data[key], new[key]]) for key in data}
  learner.source.step.assign(2800)
  return learner, data, points.values(learner.target)


@pytest.fixture
def handed_over(trained):
  """The same, just after the hand-over."""
  learner, data, start = trained
  points.assign(learner.target, start)
  learner.hand_over()
  return learner, data


def returns(learner, world=WORLD):
  episodes = world.play(100, 99, agent.AgentPolicy(learner, 7, 'eval'))
  return episodes['reward'].sum(1)


def outputs(learner, data, mode):
  """Everything that an agent says of 100 stored observations."""
  state, outs = learner.initial(20), []
  for index in range(5):
    obs = {key: x[:20, index] for key, x in data.items() if key != 'action'}
    action, state = learner.policy(obs, state, SEED + index, mode)
    feat = learner.wm.rssm.get_feat(state[0])
    heads = learner.wm.heads['reward'], learner.ac.critic
    decoded = learner.wm.heads['decoder'](feat)['vector']
    slow = learner.ac.slow_critic(feat).mode()
    outs += [action, feat, decoded.mode(), slow, *[
        head(feat).mode() for head in heads]]
  return [x.numpy() for x in outs]


@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('restored', [False, True])
def test_target_starts_as_the_source(trained, make, tmp_path, restored, mode):
  learner, data, start = trained
  points.assign(learner.target, start)
  ours = learner
  if restored:
    path = tf.train.Checkpoint(learner=learner).save(str(tmp_path / 'saved'))
    ours = make({'model_opt.lr': 3e-3, 'imag_horizon': 5}, seed=1)
    tf.train.Checkpoint(learner=ours).restore(path).assert_consumed()
  expected = outputs(learner.source, data, mode)
  compare = lambda: max(np.abs(x - y).max() for x, y in zip(
      outputs(ours.target, data, mode), expected, strict=True))
  assert compare() > 0.1
  ours.hand_over()
  assert compare() == 0


def test_everything_learned_is_handed_over(handed_over):
  learner, _ = handed_over
  for ours, peer in [
      (learner.target, learner.source), (learner.source, learner.target)]:
    ac = ours.ac
    copied = [x.ref() for module in dv2_finetune.modules(ours).values()
              for x in module.variables]
    copied += [ours.step.ref(), ac.updates.ref()]
    fresh = [
        x.ref() for opt in (ours.wm.opt, ac.actor_opt, ac.critic_opt)
        for x in (*opt.first, *opt.second, opt.count)] + [ours.updates.ref()]
    assert len(set(copied + fresh)) == len(copied + fresh)
    assert set(copied + fresh) == {x.ref() for x in ours.variables}
    assert not set(copied) & {x.ref() for x in peer.variables}


def test_counters_go_on_and_optimizers_start_anew(handed_over):
  learner, _ = handed_over
  source, target = learner.source, learner.target
  assert int(target.step) == 2800 and int(target.updates) == 0
  assert int(target.ac.updates) == int(source.ac.updates) == 600
  for opt in (target.wm.opt, target.ac.actor_opt, target.ac.critic_opt):
    assert int(opt.count) == 0
    assert not any(np.any(x) for x in opt.first + opt.second)
  assert int(source.wm.opt.count) == 600


def test_slow_critic_is_the_loaded_one(handed_over):
  learner, data = handed_over
  # Away from the updates at which the critic is copied.
  learner.target.ac.updates.assign(650)
  for var in learner.target.ac.slow_critic.variables:
    var.assign_add(tf.ones_like(var))
  before = points.values(learner.target.ac.slow_critic)
  source = points.values(learner.source)
  learner.train_target(next(points.batches(data, 0)))
  for left, right in zip(
      points.values(learner.target.ac.slow_critic), before, strict=True):
    np.testing.assert_array_equal(left, right)
  for left, right in zip(points.values(learner.source), source, strict=True):
    np.testing.assert_array_equal(left, right)


def test_loss_scale_and_magnitude_of_rewards(make):
  learner = make({'precision': '16', 'compile': 'eager'})
  learner.source.wm.opt.scale.assign(8.0)
  learner.source.ac.rewnorm.magnitude.assign(3.0)
  learner.hand_over()
  assert float(learner.target.wm.opt.scale) == 2.0 ** 15
  assert float(learner.target.ac.rewnorm.magnitude) == 3.0


@pytest.mark.parametrize('obs, act, name', [
    (4, gymnasium.spaces.Box(-1, 1, (2,), np.float32), 'actor'),
    (4, gymnasium.spaces.Discrete(1), 'actor'),
    (5, points.ACT_SPACE, 'decoder')])
def test_agents_must_have_the_same_shapes(make, obs, act, name):
  config = make().config
  other = {'vector': gymnasium.spaces.Box(-1, 1, (obs,), np.float32)}
  agents = [
      agent.Agent(config, points.OBS_SPACE, points.ACT_SPACE),
      agent.Agent(config, other, act)]
  with pytest.raises(ValueError, match=f'^dv2_finetune: {name} differs.*$'):
    dv2_finetune.Finetune(config, *agents)


def test_more_training_on_source_data_does_not_forget(handed_over):
  learner, data = handed_over
  before = returns(learner.source)
  random = WORLD.play(100, 99)['reward'].sum(1)
  assert before.mean() > random.mean() + 1.5
  np.testing.assert_array_equal(returns(learner.target), before)
  points.train(learner.train_target, points.batches(data, 9), 300)
  after = returns(learner.target)
  assert after.mean() > before.mean() - 2 * before.std() / 10


def test_related_source_saves_updates(trained, handed_over):
  learner, _ = handed_over
  held, data = RELATED.play(100, 50), RELATED.play(400, 51)
  @tf.function(autograph=False)
  def loss(batch):
    return learner.target.wm.loss(batch, SEED)[0]
  def curve():
    batches, losses = points.batches(data, 0), [float(loss(held))]
    for _ in range(10):
      points.train(learner.train_target, batches, 20)
      losses.append(float(loss(held)))
    return losses
  familiar = float(loss(WORLD.play(100, 52)))
  tuned = curve()
  assert tuned[0] > familiar + 0.1
  _, _, start = trained
  points.assign(learner.target, start)
  scratch = curve()
  # A fifth of the updates, and further at the end.
  assert tuned[2] < scratch[-1] and tuned[-1] < scratch[-1]


class Simulator:
  """Episodes of four steps with two actions; nothing but noise to see."""

  def __init__(self):
    self.obs_space = points.OBS_SPACE
    self.act_space = {'action': gymnasium.spaces.Box(-1, 1, (2,), np.float32)}
    self.rng = np.random.default_rng(0)

  def observe(self, action=(0, 0)):
    assert len(action) == 2
    return {
        'vector': self.rng.normal(size=4).astype('f4'),
        'reward': np.float32(np.sum(action)), 'is_first': self.steps == 0,
        'is_last': self.steps == 4, 'is_terminal': np.False_}

  def reset(self, seed=None, blocking=True):
    self.steps = 0
    return self.observe

  def step(self, action, blocking=True):
    self.steps += 1
    return lambda: self.observe(action['action'])


def collect(env, learner):
  """Four episodes as the source has them: two at random, two of an agent."""
  episodes = []
  run = driver.Driver([env], [lambda episode, _: episodes.append(episode)])
  run(driver.RandomPolicy(env.act_space, 0), episodes=2)
  run(agent.AgentPolicy(learner, 0, 'train'), episodes=2)
  return {key: np.stack([x[key] for x in episodes]) for key in episodes[0]}


@pytest.mark.parametrize('grad', ['dynamics', 'reinforce'])
def test_unused_dimension_changes_no_loss(make_config, grad):
  config = make_config({
      **points.SETTINGS, 'compile': 'eager', 'actor_grad': grad,
      'expl_noise': 0.5})
  env = action_adapter.PaddedActions(Simulator(), 3)
  batches, metrics, results = [], [], []
  for shift in (0.0, 7.0):
    env.env.rng = np.random.default_rng(0)
    learner = agent.Agent(config, env.obs_space, env.act_space['action'], 1)
    shifted = []
    for layer in (learner.ac.actor.out.mean, learner.ac.actor.out.std):
      for var in layer.trainable_variables:
        var.assign_add(tf.broadcast_to([0, 0, shift], var.shape))
        shifted.append(var.ref())
    batch = collect(env, learner)
    assert not batch['action'][..., 2].any()
    row = learner.wm.rssm.img_in.kernel[-1].numpy()
    metrics.append(learner.train(
        {key: tf.constant(x) for key, x in batch.items()}))
    np.testing.assert_array_equal(learner.wm.rssm.img_in.kernel[-1], row)
    batches.append(batch)
    results.append([
        x[..., :2] if x.ref() in shifted else x.numpy()
        for x in learner.trainable_variables])
  # The shifted weights themselves are in one norm.
  assert metrics[0].pop('actor_weight_norm') < metrics[1].pop(
      'actor_weight_norm')
  assert metrics[0] == metrics[1]
  for key, value in batches[0].items():
    np.testing.assert_array_equal(value, batches[1][key])
  for left, right in zip(*results, strict=True):
    np.testing.assert_array_equal(left, right)
