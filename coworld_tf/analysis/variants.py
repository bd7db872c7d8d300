"""Names of methods, and what sets runs of one method apart."""

import collections
import dataclasses

# Settings in which runs of one method may differ.
FREE = (
    'method', 'seed', 'logdir', 'task', 'source_task', 'target_task',
    'offline_dir', 'allow_mismatch', 'log_every', 'checkpoint_every',
    'resume')
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
  """Adds to the labels in what runs of one label depart from its usual ones.

  The usual value of a setting is the one that most runs have; if several are
  equally frequent, all of them are named. Only differences on one pair of
  tasks count, because suites have settings of their own, but then all runs of
  the label get the setting.
  """
  groups = collections.defaultdict(list)
  for run in found:
    groups[run.label].append(run)
  usual = {label: _usual(group) for label, group in groups.items()}
  return [
      dataclasses.replace(run, label=', '.join([run.label, *(
          f"{key.removeprefix(f'{run.method}.')} {_short(run.config[key])}"
          for key, value in usual[run.label].items()
          if key in run.config and repr(run.config[key]) != value)]))
      for run in found]


def _usual(group):
  """{key: repr of its usual value, '' for none} of what runs differ in."""
  counts = collections.defaultdict(collections.Counter)
  for pair in {(x.source, x.target) for x in group}:
    inside = [x for x in group if (x.source, x.target) == pair]
    for key in differences(inside):
      if key not in FREE and not key.startswith('evaluation.'):
        counts[key].update(
            repr(x.config[key]) for x in inside if key in x.config)
  usual = {}
  for key, values in sorted(counts.items()):
    (value, most), (_, next_most) = values.most_common(2)
    usual[key] = value if most > next_most else ''
  return usual


def differences(group):
  """Keys of the configuration in which runs differ, where they have them."""
  keys = dict.fromkeys(key for run in group for key in run.config)
  return [key for key in keys if len({
      repr(run.config[key]) for run in group if key in run.config}) > 1]


def _short(value):
  return f'{value:g}' if isinstance(value, float) else str(value)
