"""The modified tasks against values of the paper and edited model texts."""

import math

import numpy as np
import pytest
from dm_control import suite
from dm_control.suite import cheetah, walker
from lxml import etree

from envs import dmc_names, dmc_variants

# Tasks to domain, gravity x, camera angles and the size of the weak foot.
EDITS = {
    'walker_uphill': (walker, -2.54, '60 0 -15', None),
    'walker_downhill': (walker, 2.54, '60 0 15', None),
    'walker_nofoot': (walker, 0, '60 0 0', 'right_foot'),
    'cheetah_uphill': (cheetah, -2.54, '90 0 -15', None),
    'cheetah_downhill': (cheetah, 2.54, '90 0 15', None),
    'cheetah_nopaw': (cheetah, 0, '90 0 0', 'ffoot'),
}


def edited(name):
  """Compiles the stock model text with the changes of the paper."""
  domain, slope, angles, foot = EDITS[name]
  text, assets = domain.get_model_and_assets()
  root = etree.fromstring(text)
  if slope:
    root.find('option').set('gravity', f'{slope} 0 -9.47')
  camera = root.find(".//camera[@name='side']")
  camera.attrib.pop('quat', None)
  camera.set('euler', angles)
  floor = root.find(".//geom[@type='plane']")
  floor.set('size', ' '.join(['1000', *floor.get('size').split()[1:]]))
  if foot:
    root.find(f".//geom[@name='{foot}']").set('size', '0.001 0.001')
  physics = domain.Physics.from_xml_string(etree.tostring(root), assets)
  return physics.model.ptr


@pytest.mark.parametrize('name', EDITS)
def test_model_equals_the_edited_text(name):
  model = dmc_variants.load(name, 0, True).physics.model.ptr
  expected = edited(name)
  fields = [key for key in dir(expected) if isinstance(
      getattr(expected, key), np.ndarray)]
  assert len(fields) > 200
  for key in fields:
    np.testing.assert_allclose(
        getattr(model, key), getattr(expected, key), rtol=0, atol=1e-12,
        err_msg=key)
  np.testing.assert_array_equal(model.opt.gravity, expected.opt.gravity)
  assert model.opt.timestep == expected.opt.timestep
  assert model.stat.extent == expected.stat.extent


@pytest.mark.parametrize('name, mass', [
    ('walker_walk', 28.54), ('walker_uphill', 28.54), ('walker_nofoot', 26.45),
    ('cheetah_run', 14), ('cheetah_downhill', 14), ('cheetah_nopaw', 14)])
def test_total_mass(name, mass):
  model = dmc_variants.load(name, 0, True).physics.model
  assert model.body_mass.sum() == pytest.approx(mass, abs=0.005)


@pytest.mark.parametrize('domain, foot', [
    ('walker_nofoot', 'right_foot'), ('cheetah_nopaw', 'ffoot')])
def test_lamed_bodies_keep_their_motors(domain, foot):
  lamed = dmc_variants.load(domain, 0, True)
  whole = suite.load(*dmc_names.TASKS[domain][:2])
  model, stock = lamed.physics.named.model, whole.physics.named.model
  assert model.geom_size[foot][:2].tolist() == [0.001, 0.001]
  assert model.body_mass[foot] < 1e-4
  np.testing.assert_array_equal(model.actuator_gear, stock.actuator_gear)
  assert model.actuator_gear.shape[0] == 6


@pytest.mark.parametrize('name', EDITS)
def test_time_reward_and_start_are_those_of_the_stock_task(name):
  env = dmc_variants.load(name, 0, True)
  stock = suite.load(*dmc_names.TASKS[name][:2], {'random': 0})
  assert type(env.task) is type(stock.task)
  assert vars(env.task).keys() == vars(stock.task).keys()
  assert getattr(env.task, '_move_speed', 1) == 1
  assert env.control_timestep() == stock.control_timestep()
  start = env.reset().observation
  assert np.isfinite(np.concatenate([
      np.ravel(value) for value in start.values()])).all()
  assert math.isfinite(env.step(np.ones(6)).reward)


def test_slopes_pull_along_the_floor():
  speeds = {}
  for name in ('cheetah_uphill', 'cheetah_run', 'cheetah_downhill'):
    env = dmc_variants.load(name, 0, True)
    env.reset()
    for _ in range(200):
      env.step(np.zeros(6))
    speeds[name] = env.physics.named.data.qpos['rootx']
  assert speeds['cheetah_uphill'] < speeds['cheetah_run'] - 0.005
  assert speeds['cheetah_downhill'] > speeds['cheetah_run'] + 0.005


@pytest.mark.parametrize('name', [
    'cartpole_swingup_downhill', 'cartpole_three_poles_uphill',
    'hopper_hop_downhill', 'humanoid_uphill', 'swimmer_downhill'])
def test_slopes_of_other_domains(name):
  domain, task, slope = dmc_names.TASKS[name]
  model = dmc_variants.load(name, 0, True).physics.model
  stock = suite.load(domain, task).physics.model
  sign = 1 if slope == 'downhill' else -1
  assert model.opt.gravity.tolist() == [sign * 2.54, 0, -9.47]
  assert np.linalg.norm(model.opt.gravity) == pytest.approx(9.805, abs=1e-3)
  new, old = (m.cam_mat0[0].reshape(3, 3) for m in (model, stock))
  np.testing.assert_allclose(new[:, 2], old[:, 2], atol=1e-12)
  rolled = 0 if domain == 'humanoid' else sign * 15  # Seen from behind.
  angle = math.atan2(new[:, 0] @ old[:, 1], new[:, 0] @ old[:, 0])
  assert math.degrees(angle) == pytest.approx(rolled, abs=1e-4)
  assert model.nq == stock.nq and model.nu == stock.nu


def test_stock_suite_stays_unchanged():
  before = suite.load('walker', 'walk').physics.model
  dmc_variants.load('walker_downhill', 0, True)
  dmc_variants.load('walker_nofoot', 0, True)
  after = suite.load('walker', 'walk').physics.model
  for key in ('geom_size', 'cam_quat', 'body_mass'):
    np.testing.assert_array_equal(getattr(before, key), getattr(after, key))
  assert after.opt.gravity.tolist() == [0, 0, -9.81]


@pytest.mark.parametrize('domain', dmc_names.TASKS_BY_DOMAIN)
def test_slopes_exist_where_they_matter(domain):
  task = dmc_names.TASKS_BY_DOMAIN[domain][0]
  pulls = []
  for gravity in ((0, 0, -9.81), dmc_variants.GRAVITY['downhill']):
    physics = suite.load(domain, task, {'random': 0}).physics
    physics.model.opt.gravity[:] = gravity
    physics.data.qpos[:] += 0.1
    physics.forward()
    pulls.append(physics.data.qfrc_bias.copy())
  moved = not np.allclose(*pulls)
  assert moved == (f'{domain}_downhill' in dmc_names.TASKS)
