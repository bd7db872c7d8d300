"""The official DreamerV2 agent, to compare with: PyPI's dreamerv2 2.2.0.

It patches TensorFlow when it is imported, so it needs a process of its own,
started in `environment()`, where `load` makes it run under current versions:

  old name                                   stands for
  tensorflow.keras                           tf_keras, by the environment
  keras.mixed_precision.experimental         keras.mixed_precision
  tf.optimizers                              tf_keras.optimizers.legacy
  gym                                        gymnasium
"""

import importlib.util
import os
import pathlib
import sys
import types

from ruamel import yaml

PACKAGE = 'dreamerv2'


def folder():
  """Returns the folder of the installed package.

  Raises:
    FileNotFoundError: it is not installed.
  """
  spec = importlib.util.find_spec(PACKAGE)
  if spec is None:
    raise FileNotFoundError(
        'the official agent is not installed: '
        'pip install --no-deps --no-build-isolation dreamerv2==2.2.0')
  return pathlib.Path(next(iter(spec.submodule_search_locations)))


def environment():
  """Returns the environment variables of a process that calls `load`."""
  paths = [str(folder()), *filter(None, [os.environ.get('PYTHONPATH')])]
  return {
      **os.environ, 'TF_USE_LEGACY_KERAS': '1',
      'PYTHONPATH': os.pathsep.join(paths)}


def load():
  """Imports the official modules.

  Returns:
    Its packages `agent` and `common`.

  Raises:
    RuntimeError: the process was not started in `environment()`.
  """
  if os.environ.get('TF_USE_LEGACY_KERAS') != '1':
    raise RuntimeError('start this process in benchmarks.official.environment')
  import gymnasium
  import tensorflow as tf
  import tf_keras
  from tensorflow.keras import mixed_precision
  name = f'{tf.keras.mixed_precision.__name__}.experimental'
  mixed_precision.experimental = mixed_precision
  sys.modules.setdefault('gym', gymnasium)
  for parent in ('tensorflow.keras.mixed_precision', name):
    sys.modules[f'{parent}.experimental'] = mixed_precision
  tf.optimizers = types.SimpleNamespace(
      Adam=tf_keras.optimizers.legacy.Adam)
  import agent
  import common
  return agent, common


def config(common, ours):
  """Returns the official configuration with the values of one of ours.

  Args:
    common: from `load`.
    ours: configuration of dreamerv2_base; keys that the official one lacks
      are left out.
  """
  text = (folder() / 'configs.yaml').read_text()
  flat = common.Config(yaml.YAML(typ='safe').load(text)['defaults']).flat
  flat.update({key: x for key, x in ours.flat().items() if key in flat})
  # Read by its distribution, but not in its file.
  flat['actor.init_std'] = ours.actor.init_std
  return common.Config(flat)
