"""Checkpoints of a run of train.py, as `keeper` leaves them.

  RUN/checkpoints/ckpt-7/
    variables.index, .data   by TensorFlow: everything that a learner owns
    checkpoint.json          format, position in the run, return, configuration
    pending.json             metrics that wait for the next line of the log
    SHA256SUMS               of all these, for sha256sum --check
"""

import pathlib
import re

from coworld_tf import cli, inputs
from dreamerv2_base import config as configs
from dreamerv2_base import files, flags

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'
# Of the files, and of what the variables of learners mean.
FORMAT = 1
NAME = 'ckpt-'
FACTS = 'checkpoint.json'
PENDING = 'pending.json'
VARIABLES = 'variables'


class Damaged(ValueError):
  """A checkpoint that is not as it was written."""


def read_config(logdir):
  """Reads the configuration of a run.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: it is damaged or of another version.
  """
  path = logdir / 'config.yaml'
  if not path.exists():
    raise FileNotFoundError(f'{logdir}: holds no run of train.py')
  # Settings that came later than the run have their defaults.
  config = configs.merge(flags.parse([], CONFIGS), configs.load(path), path)
  inputs.check(config)
  return config


def kept(directory):
  """Returns the paths of the checkpoints in a directory, oldest first.

  Raises:
    ValueError: it holds checkpoints of an earlier version.
  """
  if (directory / 'checkpoint').exists():
    raise ValueError(
        f'{directory}: checkpoints of an earlier version, which this one '
        'cannot read; choose another --logdir')
  paths = [
      path for path in directory.glob(f'{NAME}*')
      if re.fullmatch(r'\d+', path.name.removeprefix(NAME)) and path.is_dir()]
  return sorted(paths, key=number)


def number(path):
  """Returns the number of a checkpoint, which grows in the course of a run."""
  return int(path.name.removeprefix(NAME))


def read(path):
  """Checks a checkpoint and returns its facts, a dict.

  Raises:
    Damaged: it is not as it was written.
    ValueError: it has another format.
    OSError: it cannot be read.
  """
  try:
    files.check_checksums(path)
    facts = files.read_json(path / FACTS)
    found = facts['format']
    if not isinstance(facts['config'], dict):
      raise ValueError(f'{path / FACTS}: damaged, config is no mapping')
  except (ValueError, KeyError) as error:
    raise Damaged(str(error)) from None
  if found != FORMAT:
    raise ValueError(
        f'{path}: has format {found}, this version reads {FORMAT}; choose '
        'another --logdir')
  return facts


def like(value, example):
  """Whether a value of a JSON file has the names and types of another."""
  if isinstance(example, dict):
    return isinstance(value, dict) and all(
        like(value.get(name), x) for name, x in example.items())
  return type(value) is type(example)


def score(path):
  """Returns the mean return of a checkpoint, None without an evaluation."""
  try:
    value = files.read_json(path / FACTS).get('return')
  except (OSError, ValueError):
    return None
  return value if isinstance(value, (int, float)) else None


def best(scores):
  """Returns the path with the highest score, the first of equals, or None.

  Args:
    scores: path -> score or None, oldest first.
  """
  found = {path: value for path, value in scores.items() if value is not None}
  return max(found, key=found.get, default=None)


def pick(logdir, which):
  """Returns the path of a checkpoint.

  Args:
    logdir: directory of the run.
    which: 'last', 'best', a name such as 'ckpt-7', or a path.

  Raises:
    FileNotFoundError: there is no such checkpoint.
    ValueError: as for `kept`.
  """
  paths = kept(logdir / 'checkpoints')
  chosen = {path.name: path for path in paths}
  chosen['best'] = best({path: score(path) for path in paths})
  chosen['last'] = paths[-1] if paths else None
  path = chosen.get(str(which)) or pathlib.Path(which).expanduser()
  if not (path / FACTS).is_file():
    if not paths:
      raise FileNotFoundError(f'{logdir}: has no checkpoints')
    names = ', '.join(name for name, path in chosen.items() if path)
    raise FileNotFoundError(
        f'{which}: there is no such checkpoint; {logdir} has {names}')
  return path


def load_agent(config, logdir, images, space, which='last'):
  """Builds the agent that a run is about and restores it.

  That is the one of the offline data, or of the simulator if it is alone.

  Args:
    config: configuration of the run.
    logdir: its directory.
    images: space of the images.
    space: space of the agent's actions, see methods.agent_spaces.
    which: checkpoint, as for `pick`.

  Returns:
    The agent, a dreamerv2_base.agent.Agent, and the path of the checkpoint.

  Raises:
    FileNotFoundError: there is no such checkpoint.
    ValueError: it does not hold such an agent.
  """
  with cli.quiet_loading():
    import tensorflow as tf

    from dreamerv2_base import agent
  path = pick(logdir, which)
  read(path)
  learner = agent.Agent(config, {'image': images}, space)
  place = {'target': learner} if inputs.target_tasks(config) else {
      'sources': [learner]}
  restore(path, tf.train.Checkpoint(**place))
  return learner, path


def restore(path, learner):
  """Restores the variables of a learner, or of a part of it.

  Args:
    path: checkpoint.
    learner: trackable object.

  Raises:
    ValueError: the checkpoint does not hold all of its variables.
  """
  import tensorflow as tf
  checkpoint = tf.train.Checkpoint(learner=learner)
  try:
    status = checkpoint.read(str(path / VARIABLES)).expect_partial()
    status.assert_existing_objects_matched()
  except (AssertionError, ValueError, tf.errors.OpError) as error:
    # Otherwise every value that is not restored gets a line.
    tf.get_logger().setLevel('ERROR')
    reason = str(error).strip().split('\n')[0]
    raise ValueError(f'{path}: is of another run: {reason}') from None
