"""Slopes and lamed bodies, made in memory from the installed dm_control.

A slope is a tilted gravity over the flat floor. Camera 0 is rolled by the same
angle where it shows the domain from the side, so that gravity points down in
the image. A lamed body has one geom shrunk in its model text, which the
compiler turns into new masses.
"""

import math

import mujoco
import numpy as np
from dm_control import suite
from dm_control.suite import cheetah, walker
from lxml import etree

from envs import dmc_names

GRAVITY = {'uphill': (-2.54, 0, -9.47), 'downhill': (2.54, 0, -9.47)}
ROLL = math.radians(15)
FLOOR = 1000.0  # Half-size in meters; nobody walks off it in one episode.


def load(name, seed, bounded):
  """Builds a dm_control environment.

  Args:
    name: Key of `dmc_names.TASKS`.
    seed: Seed of the initial states.
    bounded: Whether the time limit of the suite ends episodes.
  """
  domain, task, variant = dmc_names.TASKS[name]
  kwargs = {'random': seed}
  if not bounded:
    kwargs['time_limit'] = float('inf')
  env = suite.load(domain, task, kwargs)
  if variant == 'nofoot':
    _shrink(env.physics, walker, 'right_foot')
  if variant == 'nopaw':
    _shrink(env.physics, cheetah, 'ffoot')
  if variant:
    _extend_floor(env.physics.model)
  if variant in GRAVITY:
    env.physics.model.opt.gravity[:] = GRAVITY[variant]
    _roll_camera(env.physics.model, math.copysign(ROLL, GRAVITY[variant][0]))
  return env


def reseed(env, name, seed):
  """Gives what `load` built the randomness of another seed."""
  random = env.task.random
  random.seed(seed)
  if dmc_names.TASKS[name][0] == 'lqr':
    # Its springs and dampers are the first that is drawn.
    other = load(name, seed, bounded=True)
    for field in ('jnt_stiffness', 'dof_damping'):
      getattr(env.physics.model, field)[:] = getattr(
          other.physics.model, field)
    random.set_state(other.task.random.get_state())
    other.close()


def _shrink(physics, domain, geom):
  text, assets = domain.get_model_and_assets()
  model = etree.fromstring(text)
  model.find(f".//geom[@name='{geom}']").set('size', '0.001 0.001')
  physics.reload_from_xml_string(etree.tostring(model), assets)


def _extend_floor(model):
  # Planes collide as if infinite; their size only matters to the renderer.
  # Short ones belong to domains that stay in place.
  planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
  model.geom_size[planes & (model.geom_size[:, 0] >= 50), 0] = FLOOR


def _roll_camera(model, angle):
  right, up, _ = model.cam_mat0[0].reshape(3, 3).T
  if abs(right[0]) < 0.99 or up[2] < 0.5:
    return
  angle = math.copysign(1, right[0]) * angle
  roll = np.array([math.cos(angle / 2), 0, 0, math.sin(angle / 2)])
  quat = model.cam_quat[0].copy()
  mujoco.mju_mulQuat(model.cam_quat[0], quat, roll)
  # Tracking cameras take their direction from the world frame instead.
  turn = np.empty(9)
  mujoco.mju_quat2Mat(turn, roll)
  frame = model.cam_mat0[0].reshape(3, 3) @ turn.reshape(3, 3)
  model.cam_mat0[0] = frame.ravel()
