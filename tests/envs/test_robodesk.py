"""What is special about RoboDesk."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import envs
from envs import robodesk, robot_names
from tests.envs.test_conformance import ROBODESK

# Joints that finish a task: their name, the coordinate and its value.
FINISHED = {
    'push_green': ('green_light', 0, -0.01),
    'open_slide': ('slide_joint', 0, 0.58),
    'open_drawer': ('drawer_joint', 0, -0.25),
    'upright_block_off_table': ('upright_block', 2, 0.4)}
ROOT = pathlib.Path(envs.__file__).parents[1]
PACKAGE = robodesk.robodesk.RoboDesk


class Package(PACKAGE):
  """The package's environment where Pillow has renamed what it uses."""

  def _get_obs(self):
    image = Image.fromarray(self.render(resize=False))
    image = image.crop((16.75, 25.0, 105.0, 88.75))
    return np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS))


def finish(task, **settings):
  """Returns the rewards and successes before and after a task is done."""
  env = envs.make(f'robodesk_{task}', quality='fast', size=8, **settings)
  env.reset()
  name, index, value = FINISHED[task]
  still = {'action': np.zeros(5)}
  steps = [env.env.advance(still)]
  physics = env.env._env.physics
  physics.named.data.qpos[name][index] = value
  physics.forward()
  steps.append(env.env.advance(still))
  env.close()
  return zip(*[(obs['reward'], obs['log_success']) for obs in steps])


def test_names_are_those_of_the_installed_package():
  assert set(PACKAGE().all_tasks) == set(robot_names.ROBODESK)


def test_exact_quality_and_rewards_are_those_of_the_package():
  np.random.seed(5)
  package = Package('open_drawer')
  images, rewards = [package.reset()], [0]
  env = envs.make('robodesk_open_drawer', seed=5)
  steps = [env.reset()]
  for action in np.random.default_rng(0).uniform(-1, 1, (2, 5)):
    image, reward, _, _ = package.step(action.astype(np.float32))
    images.append(image)
    rewards.append(reward)
    steps.append(env.step({'action': action.astype(np.float32)}))
  env.close()
  np.testing.assert_array_equal([obs['image'] for obs in steps], images)
  np.testing.assert_allclose(
      [obs['reward'] for obs in steps], rewards, rtol=1e-6)


@pytest.mark.parametrize('task', FINISHED)
def test_success_is_that_of_the_task(task):
  _, successes = finish(task)
  assert successes == (0, 1)


def test_fixed_rewards_notice_a_block_on_the_floor():
  (before, after), _ = finish('upright_block_off_table')
  assert after < before
  (before, after), _ = finish('upright_block_off_table', fix_rewards=True)
  assert after > before + 0.2


def test_other_cameras_are_refused():
  with pytest.raises(ValueError, match="camera is 'fixed': RoboDesk has only"):
    envs.make(ROBODESK[0], camera='fixed')


def test_nothing_is_printed():
  script = f"""
import envs
env = envs.make({ROBODESK[0]!r}, quality='fast')
env.reset()
env.close()
"""
  child = subprocess.run(
      [sys.executable, '-W', 'ignore', '-c', script], capture_output=True,
      text=True, cwd=ROOT, timeout=120)
  assert (child.returncode, child.stdout, child.stderr) == (0, '', '')
