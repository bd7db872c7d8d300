"""Short names of the paper's tasks and the scores in its tables."""

import json
import pathlib

RESULTS = pathlib.Path(__file__).with_name('paper_results.json')
SHORT = {
    'metaworld_door-close': 'DC*', 'metaworld_button-press': 'BP',
    'metaworld_window-close': 'WC', 'metaworld_handle-press': 'HP',
    'metaworld_drawer-close': 'DC', 'metaworld_button-press-topdown': 'BT',
    'dmc_walker_walk': 'WW', 'dmc_walker_downhill': 'WD',
    'dmc_walker_uphill': 'WU', 'dmc_walker_nofoot': 'WN',
    'dmc_cheetah_run': 'CR', 'dmc_cheetah_downhill': 'CD',
    'dmc_cheetah_uphill': 'CU', 'dmc_cheetah_nopaw': 'CN'}
# Names in the tables: methods that have a source, and those that have none or
# choose it, for which the left side of a pair means nothing.
PAIRED = {
    'coworld': ('coworld', 'coworld_best_source'),
    'dv2_finetune': ('dv2_finetune',),
    'dv2_finetune_ewc': ('dv2_finetune_ewc',)}
UNPAIRED = {
    'offline_dv2': ('offline_dv2',),
    'multi_source': ('coworld_multi_source',)}


def label(source, target):
  """Name of a pair of tasks, or of a target alone.

  Short where the paper has short names, as in 'WW->WD'.
  """
  names = [name for name in (source, target) if name]
  if all(name in SHORT for name in names):
    return '->'.join(SHORT[name] for name in names)
  return ' > '.join(names)


def tables(data):
  """Names of the tables whose datasets are like ours.

  Args:
    data: policy of the dataset, such as 'medium_replay', or ''.
  """
  return {
      'medium_replay': ('table2', 'table3'),
      'medium_expert': ('table4',)}.get(data, ())


def order():
  """Labels of the paper's pairs in the order of its tables."""
  results = load()
  return [*results['table2']['pairs'], *results['table3']['pairs']]


def load():
  """Reads the tables of the paper."""
  return json.loads(RESULTS.read_text(encoding='utf-8'))


def cell(results, method, source, target, data):
  """The paper's score of a method on a pair.

  Args:
    results: what `load` gives.
    method: name of the method.
    source: task, or '' for a column of a target alone.
    target: task.
    data: policy of the dataset, or ''.

  Returns:
    Dict of mean and std, or None if the paper has no such score.
  """
  pair = label(source, target)
  for table in tables(data):
    methods = results[table]['methods']
    for name in PAIRED.get(method, UNPAIRED.get(method, ())):
      for key, entry in methods.get(name, {'cells': {}})['cells'].items():
        same_target = key.split('->')[1] == SHORT.get(target)
        if key == pair or method in UNPAIRED and same_target:
          return entry
  return None
