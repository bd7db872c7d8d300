"""The policy as TensorFlow Lite, for phones and boards.

The file policy.tflite has the signatures below, for any batch size, and uses
nothing but the runtime's own operations. Of these, none draws random numbers,
so `sample` and `evaluate` stay behind; nor are there convolutions in 16 bits.
"""

import re

import tensorflow as tf

from coworld_tf import cli

NAME = 'policy.tflite'
SIGNATURES = ['serving_default', 'initial_state', 'value']


def check(config):
  """Checks that the policy of a run can be converted.

  Args:
    config: configuration of the run.

  Raises:
    ValueError: it uses what the runtime does not have.
  """
  if config.precision != '32':
    raise ValueError(
        f"tflite: has no operations for precision '{config.precision}'; "
        'only runs with --precision 32 can be converted')
  if config.actor.dist == 'tanh_normal':
    raise ValueError(
        'tflite: the mode of actor.dist tanh_normal is the best of 100 '
        'samples, and there are no random numbers')


def write(directory):
  """Converts the SavedModel in a folder into policy.tflite beside it.

  Args:
    directory: folder of the SavedModel.

  Raises:
    ValueError: it uses what the runtime does not have; nothing is written.
  """
  converter = tf.lite.TFLiteConverter.from_saved_model(
      str(directory), signature_keys=SIGNATURES)
  # The converter has a line for each operation that it does not know.
  with cli.quiet_loading():
    try:
      data, missing = converter.convert(), None
    except Exception as error:  # Its class is not public.
      missing = re.findall(r'^(?:TF Select|Custom) ops: (.*)$', str(error), 8)
      if not missing:
        raise
  if missing:
    raise ValueError(f"tflite: lacks the operations {', '.join(missing)}")
  (directory / NAME).write_bytes(data)
