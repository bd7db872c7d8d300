"""Names of methods, and what sets runs of one method apart."""

import collections
import dataclasses

# Settings in which runs of one method may differ.
FREE = (
    'method', 'seed', 'logdir', 'task', 'source_task', 'target_task',
    'offline_dir', 'allow_mismatch', 'log_every', 'checkpoint_every')
# Key, value: what CoWorld is called with it.
ABLATIONS = {
    ('coworld.beta2', 0): 'no state alignment',
    ('eta.final', 1): 'no reward alignment',
    ('coworld.alpha', 0): 'no value constraint',
    ('coworld.constraint', 'direct'): 'brute-force constraint'}


def name(config):
  """Name of the method of a configuration, CoWorld's with what it lacks."""
  if config['method'] != 'coworld':
    return config['method']
  changes = [
      text for (key, value), text in ABLATIONS.items()
      if config.get(key) == value]
  return ', '.join(['coworld', *changes])


def set_apart(found):
  """Adds to the labels the settings in which runs of one label differ.

  Only differences on one pair of tasks count, because suites have settings of
  their own, but then all runs of the label get the setting.
  """
  groups = collections.defaultdict(list)
  for run in found:
    groups[run.label].append(run)
  keys = {
      label: sorted({
          key for pair in {(x.source, x.target) for x in group}
          for key in differences(
              [x for x in group if (x.source, x.target) == pair])
          if key not in FREE and not key.startswith('evaluation.')})
      for label, group in groups.items()}
  return [
      dataclasses.replace(run, label=', '.join([run.label, *(
          f'{key} {_short(run.config[key])}' for key in keys[run.label]
          if key in run.config)]))
      for run in found]


def differences(group):
  """Keys of the configuration in which runs differ, where they have them."""
  keys = dict.fromkeys(key for run in group for key in run.config)
  return [key for key in keys if len({
      repr(run.config[key]) for run in group if key in run.config}) > 1]


def _short(value):
  return f'{value:g}' if isinstance(value, float) else str(value)
