"""What an exported policy consists of, and how it is checked.

Without TensorFlow, since a folder is checked before anything of it is loaded.
"""

import pathlib

from dreamerv2_base import files

# Raised whenever an older reader would misunderstand a folder.
FORMAT = 1
METADATA = 'metadata.json'
# What evaluations tell of a policy, and the types of these facts.
FACTS = {
    'task': str, 'method': str, 'training_seed': int, 'updates': int,
    'checkpoint': str, 'settings': dict}
# Mode of a policy, see dreamerv2_base.agent.Agent -> signature.
SIGNATURES = {
    'eval': 'evaluate', 'train': 'sample', 'mode': 'serving_default'}


def check(directory):
  """Checks an exported policy and returns its metadata.

  Args:
    directory: folder that `python -m coworld_tf.export` made.

  Raises:
    FileNotFoundError: there is no such folder.
    ValueError: it is something else, damaged or of another version.
  """
  directory = pathlib.Path(directory)
  if not directory.is_dir():
    raise FileNotFoundError(f'{directory}: there is no such folder')
  if not (directory / METADATA).is_file():
    raise ValueError(
        f'{directory}: no policy of python -m coworld_tf.export, has no '
        f'{METADATA}')
  facts = files.read_json(directory / METADATA)
  version = facts.get('format')
  if type(version) is not int or version != FORMAT:
    raise ValueError(
        f'{directory}: has format version {version}, this program reads '
        f'{FORMAT}; export the run again')
  for key, kind in FACTS.items():
    if not isinstance(facts.get(key), kind):
      raise ValueError(
          f"{directory / METADATA}: '{key}' is missing or of another type; "
          'export the run again')
  files.check_checksums(directory)
  return facts
