"""The agent of a run of train.py, as a checkpoint left it."""

import pathlib

from coworld_tf import cli, inputs
from dreamerv2_base import config as configs
from dreamerv2_base import flags

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'


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


def load_agent(config, logdir, images, space, path=None):
  """Builds the agent that a run is about and restores it.

  That is the one of the offline data, or of the simulator if it is alone.

  Args:
    config: configuration of the run.
    logdir: its directory.
    images: space of the images.
    space: space of the agent's actions, see methods.agent_spaces.
    path: checkpoint, or None for the last one.

  Returns:
    The agent, a dreamerv2_base.agent.Agent, and the path of the checkpoint.

  Raises:
    FileNotFoundError: there is no such checkpoint.
    ValueError: it does not hold such an agent.
  """
  with cli.quiet_loading():
    import tensorflow as tf

    from dreamerv2_base import agent
  if path is None:
    path = tf.train.latest_checkpoint(str(logdir / 'checkpoints'))
    if not path:
      raise FileNotFoundError(f'{logdir}: has no checkpoints')
  path = str(path).removesuffix('.index')
  if not pathlib.Path(f'{path}.index').is_file():
    raise FileNotFoundError(f'{path}: there is no such checkpoint')
  learner = agent.Agent(config, {'image': images}, space)
  place = {'target': learner} if inputs.target_tasks(config) else {
      'sources': [learner]}
  checkpoint = tf.train.Checkpoint(learner=tf.train.Checkpoint(**place))
  try:
    status = checkpoint.restore(path).expect_partial()
    status.assert_existing_objects_matched()
  except (AssertionError, ValueError, tf.errors.OpError) as error:
    # Otherwise every value that is not restored gets a line.
    tf.get_logger().setLevel('ERROR')
    reason = str(error).strip().split('\n')[0]
    raise ValueError(
        f'{path}: is damaged or of another run: {reason}') from None
  return learner, path
