"""Cells, columns and references of comparisons."""

import itertools

import pytest

from coworld_tf.analysis import aggregates, comparison, paper, runs
from tests.analysis import stored_runs


@pytest.fixture
def data(tmp_path):
  return stored_runs.write_data(tmp_path / 'data')


def test_grid_has_a_plain_reference(tmp_path, data):
  usual = {'coworld.alpha': 2.0, 'coworld.beta2': 1.0, 'coworld.k': 0.3}
  for key, value in [
      (None, None), *itertools.product(['coworld.alpha'], (0.5, 5.0)),
      *itertools.product(['coworld.beta2'], (0.1, 0.5, 5.0)),
      *itertools.product(['coworld.k'], (0.1, 0.5))]:
    for seed in range(2):
      stored_runs.write(
          tmp_path / 'runs' / f'{key}-{value}-{seed}', seed=seed, data=data,
          override={**usual, **({key: value} if key else {})})
  found = comparison.compare(runs.read_all([tmp_path / 'runs']))
  assert found.methods == ['coworld', *(
      f'coworld, {text}' for text in (
          'alpha 0.5', 'alpha 5', 'beta2 0.1', 'beta2 0.5', 'beta2 5',
          'k 0.1', 'k 0.5'))]
  assert found.reference == 'coworld'
  assert [method for method, _ in found.paper] == ['coworld']
  assert all(len(cell.runs) == 2 for cell in found.cells.values())


def test_pairs_and_cells_of_the_paper(tmp_path, data):
  assert paper.label('metaworld_button-press', 'metaworld_door-close') == (
      'BP->DC*')
  assert paper.label('', 'dmc_walker_uphill') == 'WU'
  assert paper.label('dummy_3', 'dummy_2') == 'dummy_3 > dummy_2'
  pair = 'dmc_walker_walk', 'dmc_walker_downhill'
  cell = lambda *args: paper.cell(paper.load(), *args)
  assert cell('coworld', *pair, 'medium_replay') == {'mean': 629, 'std': 9}
  assert cell('coworld', *pair, 'medium_expert') == {'mean': 848, 'std': 9}
  replayed = lambda *args: cell(*args, 'medium_replay')
  assert replayed('offline_dv2', '', pair[1])['mean'] == 435
  assert replayed('coworld', 'dmc_cheetah_run', pair[1]) is None
  assert replayed('coworld, no value constraint', *pair) is None
  assert replayed(
      'multi_source', '', 'metaworld_door-close')['mean'] == 3864
  assert not any('avg' in key for key in replayed('coworld', *pair))
  for other in ('', 'random', 'expert'):
    assert cell('coworld', *pair, other) is None


def test_columns(tmp_path, data):
  expert = stored_runs.write_data(
      tmp_path / 'expert', policy='medium_expert')
  for name, method, source, folder in (
      ('a', 'coworld', 'dmc_walker_walk', data),
      ('b', 'coworld', 'dmc_walker_run', data),
      ('c', 'coworld', 'dmc_walker_walk', expert),
      ('d', 'dreamerv2_offline', 'dmc_walker_walk', data),
      ('e', 'dreamerv2', 'dmc_walker_walk', '')):
    stored_runs.write(
        tmp_path / name, method, source=source, data=folder or None)
  found = comparison.compare(runs.read_all(
      [tmp_path / name for name in 'abcde']))
  assert list(found.columns.values()) == [
      'WW->WD (medium_expert)', 'WW->WD (medium_replay)',
      'dmc_walker_run > dmc_walker_downhill']
  held = {
      method: [(found.columns[x].split()[-1])
               for x in found.columns if (method, x) in found.cells]
      for method in found.methods}
  names = ['(medium_expert)', '(medium_replay)', 'dmc_walker_downhill']
  assert held == {
      'coworld': names, 'dreamerv2_offline': names[1:], 'dreamerv2': names}
  assert len(found.runs) == 5


def test_two_runs_of_one_seed(tmp_path):
  paths = [stored_runs.write(tmp_path / x) for x in 'ab']
  with pytest.raises(ValueError, match='a and .*b are both coworld, WW->WD'):
    comparison.compare(runs.read_all(paths))


@pytest.mark.parametrize('target, metadata, override, best', [
    ('dmc_walker_downhill', {}, {}, 500),
    ('dmc_walker_downhill', {'cut': {'s_max': 10.0}}, {}, None),
    ('dmc_walker_downhill', None, {}, 1000),
    ('dmc_walker_downhill', None, {'time_limit': 125}, 250),
    ('metaworld_door-close', None, {}, None)])
def test_scale(tmp_path, target, metadata, override, best):
  folder = None if metadata is None else stored_runs.write_data(
      tmp_path / 'data', **metadata)
  path = stored_runs.write(
      tmp_path / 'a', target=target, data=folder, override=override)
  found = comparison.compare(runs.read_all([path]))
  facts, = found.facts.values()
  assert facts.best == best and facts.random == 20 and facts.dataset == 60
  if best:
    assert facts.normalized((best + 20) / 2) == pytest.approx(0.5)


def test_facts_of_the_dataset_are_those_of_the_training(tmp_path, data):
  path = stored_runs.write(tmp_path / 'a', data=data)
  assert runs.read(path).facts == {'policy': 'medium_replay', 's_max': 500}
  stored_runs.rewrite(path / 'summary.json', dataset={
      'policy': 'medium_expert', 's_max': 700.0})
  found = comparison.compare(runs.read_all([path]))
  (column, facts), = found.facts.items()
  assert column.data == 'medium_expert' and facts.best == 700
  assert [entry['mean'] for entry in found.paper.values()] == [848]
  stored_runs.rewrite(path / 'summary.json', dataset={})
  assert runs.read(path).data == ''


def test_intervals_need_two_seeds_in_every_pair(tmp_path):
  for seed in range(3):
    stored_runs.write(tmp_path / 'runs' / f'a-{seed}', seed=seed)
  other = {'source': 'dmc_cheetah_run', 'target': 'dmc_cheetah_downhill'}
  stored_runs.write(tmp_path / 'runs' / 'b-0', **other)
  aggregate = lambda: comparison.compare(
      runs.read_all([tmp_path / 'runs'])).aggregate('coworld', aggregates.iqm)
  assert aggregate().interval is None
  stored_runs.write(tmp_path / 'runs' / 'b-1', seed=1, **other)
  assert aggregate().interval is not None
