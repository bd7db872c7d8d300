"""Which graphics backend simulators get."""

import os
import pathlib
import subprocess
import sys

import pytest

import envs
from envs import headless

ROOT = pathlib.Path(envs.__file__).parents[1]


def python(text, prefix, **variables):
  """Runs a program in a virtual environment without packages of its own."""
  env = {key: x for key, x in os.environ.items() if key != 'MUJOCO_GL'}
  return subprocess.run(
      [sys.executable, '-c', f'import sys; sys.prefix = {str(prefix)!r}\n'
       + text], cwd=ROOT, env={**env, **variables}, text=True, check=True,
      capture_output=True, timeout=120).stdout.strip()


def backend(prefix, **variables):
  return python(
      "import os, envs; print(os.environ['MUJOCO_GL'])", prefix, **variables)


@pytest.mark.parametrize('name', ['osmesa', 'egl'])
def test_finding_is_used_unless_the_user_chose(tmp_path, name):
  (tmp_path / '.mujoco_gl').write_text(f'{name}\n')
  assert backend(tmp_path) == name
  assert backend(tmp_path, MUJOCO_GL='glfw') == 'glfw'


def test_backend_is_guessed_without_a_finding(tmp_path):
  assert backend(tmp_path) in headless.BACKENDS


def test_what_renders_is_remembered(tmp_path):
  python('from envs import headless; sys.exit(headless.main())', tmp_path)
  name = (tmp_path / '.mujoco_gl').read_text().strip()
  assert backend(tmp_path) == name and headless.renders(name)


def test_nothing_is_written_outside_of_environments():
  python(
      'sys.base_prefix = sys.prefix\n'
      'from envs import headless; sys.exit(headless.main())', '/nowhere')
