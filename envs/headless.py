"""Checks that MuJoCo renders without a display: `python -m envs.headless`.

Exits with status 0 when it does, and leaves the backend's name in the virtual
environment for `envs` to use. Otherwise installs the missing libraries
where it may (as root, with apt-get), or prints the command and exits with 2.
"""

import os
import shutil
import subprocess
import sys

import envs

BACKENDS = ('egl', 'osmesa')
PACKAGES = 'libegl1 libopengl0 libgl1 libgl1-mesa-dri'
RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(data)
assert renderer.render().any(), 'black image'
renderer.close()
"""


def renders(backend):
  """Whether a fresh process draws a frame with this `MUJOCO_GL` backend."""
  # A missing or broken driver may kill the process instead of raising.
  child = subprocess.run(
      [sys.executable, '-c', RENDER], capture_output=True,
      env={**os.environ, 'MUJOCO_GL': backend})
  return child.returncode == 0


def install():
  """Installs the libraries with apt-get, which reports its own errors."""
  env = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
  subprocess.run(['apt-get', 'update', '-q'], env=env)
  subprocess.run(['apt-get', 'install', '-q', '-y', '--no-install-recommends',
                  *PACKAGES.split()], env=env)


def main():
  """Finds or installs a backend; returns the exit status."""
  found = next(filter(renders, BACKENDS), None)
  if not found and os.geteuid() == 0 and shutil.which('apt-get'):
    print(f'Headless rendering: installing {PACKAGES} with apt-get.',
          flush=True)
    install()
    found = next(filter(renders, BACKENDS), None)
  if not found:
    print('error: no headless rendering (EGL or OSMesa); on Debian/Ubuntu '
          f'run: sudo apt-get install -y {PACKAGES}', file=sys.stderr)
    return 2
  # An installed EGL may be broken, so `envs` should not have to guess.
  if sys.prefix != sys.base_prefix:
    envs.BACKEND.write_text(found + '\n')
  print(f'Headless rendering works with MUJOCO_GL={found}.')
  return 0


if __name__ == '__main__':
  sys.exit(main())
