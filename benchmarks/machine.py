"""Facts that every committed result carries."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess

PACKAGES = 'tensorflow', 'tensorflow-probability', 'dm_control', 'mujoco'


def facts():
  """Returns commit, processor, cores and versions as a dict."""
  git = lambda *args: subprocess.run(
      ['git', *args], capture_output=True, text=True, check=True,
      cwd=pathlib.Path(__file__).parent).stdout.rstrip()
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  names = [
      line.partition(':')[2].strip()
      for line in cpuinfo.read_text().splitlines()
      if line.startswith('model name')] if cpuinfo.exists() else []
  return {
      'commit': git('rev-parse', 'HEAD'),
      'changed_files': git('status', '--porcelain', '-uno').splitlines(),
      'processor': names[0] if names else platform.processor(),
      'cores': os.cpu_count(), 'python': platform.python_version(),
      **{name: importlib.metadata.version(name) for name in PACKAGES}}
