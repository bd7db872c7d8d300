"""Types to compute in: float32, or 16 bits where they are faster.

Weights, layer norm, parameters of distributions, losses and optimizers are
float32 in any case. Nothing here loads TensorFlow before `best` asks for GPUs.
"""

import pathlib

from dreamerv2_base import config as configs

AUTO = 'auto'
# Setting -> name of the type.
DTYPES = {'32': 'float32', 'bfloat16': 'bfloat16', '16': 'float16'}
# TensorFlow computes in bfloat16 on these only. Arm has such instructions too
# (`bf16`), which its kernels for bfloat16 do not use.
_FAST = {'avx512_bf16', 'amx_bf16'}


def settled(config):
  """Returns a configuration whose `auto` became what is best here."""
  if config.precision != AUTO:
    return config
  return configs.merge(config, {'precision': best()}, AUTO)


def best():
  """Returns the fastest precision of the GPUs, or else of the processor."""
  import tensorflow as tf
  details = tf.config.experimental.get_device_details
  gpus = tf.config.get_visible_devices('GPU')
  if gpus:
    return of_gpus([details(x).get('compute_capability') for x in gpus])
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  return of_processor(cpuinfo.read_text() if cpuinfo.exists() else '')


def of_gpus(capabilities):
  """Returns the precision for GPUs with these compute capabilities.

  Args:
    capabilities: list of (major, minor), or None of GPUs that do not tell.
  """
  able = all(x is not None and x >= (8, 0) for x in capabilities)
  return 'bfloat16' if able else '16'


def of_processor(cpuinfo):
  """Returns the precision for a processor, by the text of /proc/cpuinfo."""
  lines = [line.partition(':') for line in cpuinfo.splitlines()]
  flags = {
      flag for key, _, value in lines if key.strip() == 'flags'
      for flag in value.split()}
  return 'bfloat16' if flags & _FAST else '32'
