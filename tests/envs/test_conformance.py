"""What every environment has to keep, for one task of each kind.

  python -m tests.envs.test_conformance

stores the first images again, for when they are meant to change.
"""

import pathlib

import gymnasium
import numpy as np
import pytest

import envs

REFERENCES = pathlib.Path(__file__).with_name('references.npz')
METAWORLD = [f'metaworld_{name}' for name in (
    'door-close', 'button-press', 'window-close', 'handle-press',
    'drawer-close', 'button-press-topdown')]
ROBODESK = [f'robodesk_{name}' for name in (
    'push_green', 'open_slide', 'open_drawer', 'upright_block_off_table')]
DMC = [f'dmc_{name}' for name in (
    'walker_walk', 'walker_uphill', 'walker_downhill', 'walker_nofoot',
    'cheetah_run', 'cheetah_uphill', 'cheetah_downhill', 'cheetah_nopaw')]
GYM = ['gym_tests.envs.dots:Seen-v0', 'gym_tests.envs.dots:Drawn-v0']
TASKS = METAWORLD + ROBODESK + DMC + GYM
PICTURES = [task for task in TASKS if task not in GYM]
SEED = 3
# Suites to sizes of actions, frames per episode and the highest reward.
FACTS = {
    'metaworld': ((4,), 500, 10), 'robodesk': ((5,), 500, 1),
    'dmc': ((6,), 1000, 1), 'gym': ((2,), 30, 1)}


def facts(task):
  return FACTS[task.partition('_')[0]]


def policy(env, seed=0):
  """Returns a function that draws random actions."""
  random = np.random.default_rng(seed)
  space = env.act_space['action']
  shape = space.shape or (space.n,)
  return lambda: {'action': random.uniform(-1, 1, shape)}


def rollout(task, steps=2, episodes=1, **settings):
  """Returns images and rewards of random episodes of a new environment."""
  env = envs.make(task, **{'quality': 'fast', 'seed': SEED, **settings})
  action, seen = policy(env), []
  for _ in range(episodes):
    seen.append(env.reset())
    seen += [env.step(action()) for _ in range(steps)]
  env.close()
  return (np.array([obs['image'] for obs in seen]),
          np.array([obs['reward'] for obs in seen]))


def coarse(task, quality):
  """Returns the first image in 8 x 8 pixels, which forgives drivers."""
  image = rollout(task, steps=0, quality=quality)[0][0]
  return image.reshape(8, 8, 8, 8, 3).mean((1, 3))


def check_spaces(env, obs):
  assert obs.keys() == env.obs_space.keys()
  for key, space in env.obs_space.items():
    value = np.asarray(obs[key])
    assert (value.dtype, value.shape) == (space.dtype, space.shape), key
    assert space.contains(value), key


@pytest.mark.parametrize('task', TASKS)
def test_spaces_flags_and_rewards(task):
  env = envs.make(task, quality='fast')
  shape, frames, highest = facts(task)
  assert env.act_space['action'] == (
      gymnasium.spaces.Discrete(3) if 'Seen' in task
      else gymnasium.spaces.Box(-1, 1, shape, np.float32))
  assert ('log_success' in env.obs_space) != task.startswith('dmc_')
  with pytest.raises(RuntimeError, match='reset'):
    env.step(policy(env)())
  first, second = env.reset(), env.step(policy(env)())
  for obs in (first, second):
    check_spaces(env, obs)
    assert obs['image'].shape == (64, 64, 3)
    assert np.ptp(obs['image']) > 50
  assert first['is_first'] and not second['is_first']
  assert first['reward'] == 0 and first.get('log_success', 0) == 0
  assert (first['image'] != second['image']).any()
  # The rest without images and wrappers.
  still = {'action': 0 if 'Seen' in task else np.zeros(shape)}
  rest = [env.env.advance(still) for _ in range(frames - 1)]
  with pytest.raises(RuntimeError, match='reset'):
    env.step(policy(env)())
  rest = [first, second, *rest]
  assert [obs['is_last'] for obs in rest] == [False] * frames + [True]
  assert not any(obs['is_terminal'] for obs in rest)
  rewards = np.array([obs['reward'] for obs in rest])
  assert rewards.min() >= 0 and rewards.max() <= highest
  assert env.reset()['is_first']
  env.close()


@pytest.mark.parametrize('task', TASKS)
def test_seeds_alone_decide_the_pixels(task):
  np.random.seed(1)
  before = np.random.get_state()[1].copy()
  images, rewards = rollout(task, episodes=2)
  np.testing.assert_array_equal(before, np.random.get_state()[1])
  np.random.seed(2)
  again, same = rollout(task, episodes=2)
  other, _ = rollout(task, steps=0, seed=SEED + 1)
  np.testing.assert_array_equal(images, again)
  np.testing.assert_array_equal(rewards, same)
  assert (images[0] != images[3]).any()
  assert (images[0] != other[0]).any()


@pytest.mark.parametrize('task', [*TASKS, 'dmc_lqr_lqr_6_2', 'dummy_2'])
def test_seed_of_a_reset_alone_decides_the_rest(task):
  def play(env, *seed, steps=5):
    action = policy(env)
    return [env.reset(*seed), *(env.step(action()) for _ in range(steps))]

  settings = {'quality': 'fast', 'time_limit': 20}
  new = envs.make(task, SEED, **settings)
  expected = play(new) + play(new)  # The generators go on after the first.
  used = envs.make(task, SEED + 1, **settings)
  play(used), play(used, 5, steps=20), play(used, steps=15)
  assert (play(used, 5)[0]['image'] != expected[0]['image']).any()
  for _ in range(2):
    for one, other in zip(play(used, SEED) + play(used), expected):
      assert one.keys() == other.keys()
      for key in one:
        np.testing.assert_array_equal(one[key], other[key])
  new.close()
  used.close()


@pytest.mark.parametrize('quality', envs.QUALITIES)
@pytest.mark.parametrize('task', PICTURES)
def test_first_image_is_the_stored_one(task, quality):
  image = coarse(task, quality)
  distance = lambda other: np.abs(image - other).mean()
  reference = np.load(REFERENCES)[f'{task}/{quality}']
  mirrored = image[::-1], image[:, ::-1], image[..., ::-1]
  assert distance(reference) < 2 < min(map(distance, mirrored))


@pytest.mark.parametrize('task', [METAWORLD[0], ROBODESK[0], DMC[0], GYM[1]])
@pytest.mark.parametrize('limit', [3, 15])
def test_time_limit_replaces_that_of_the_suite(task, limit):
  shape, frames, _ = facts(task)
  env = envs.make(
      task, quality='fast', action_repeat=frames // 10, time_limit=limit)
  env.reset()
  still = {'action': np.zeros(shape)}
  steps = [env.step(still) for _ in range(limit)]
  assert [obs['is_last'] for obs in steps] == [False] * (limit - 1) + [True]
  assert not steps[-1]['is_terminal']
  with pytest.raises(RuntimeError, match='reset'):
    env.step(still)
  env.close()


@pytest.mark.parametrize('task', [METAWORLD[0], ROBODESK[0], DMC[4]])
def test_quality_changes_pixels_but_not_dynamics(task):
  fast, rewards = rollout(task)
  exact, same = rollout(task, quality='exact')
  np.testing.assert_array_equal(rewards, same)
  assert 1 < np.abs(fast.astype(float) - exact).mean() < 60


def test_environments_do_not_disturb_each_other():
  alone = {task: rollout(task, size=32)[0] for task in PICTURES[::5]}
  together = [
      envs.make(task, SEED, size=32, quality='fast') for task in alone]
  actions = [policy(env) for env in together]
  images = [[env.reset()['image'] for env in together]]
  for _ in range(2):
    images.append([
        env.step(action())['image']
        for env, action in zip(together, actions)])
  for env in together:
    env.close()
  np.testing.assert_array_equal(images, np.stack([*alone.values()], 1))


def main():
  """Stores the first images of today."""
  np.savez_compressed(REFERENCES, **{
      f'{task}/{quality}': np.round(coarse(task, quality)).astype(np.uint8)
      for task in PICTURES for quality in envs.QUALITIES})
  print(f'{REFERENCES}: {2 * len(PICTURES)} images')


if __name__ == '__main__':
  main()
