"""The plans of the paper's tables and figures."""

import collections
import itertools
import pathlib

import pytest

import envs
from coworld_tf import experiments, inputs, schedule
from coworld_tf.analysis import paper
from coworld_tf.datasets import collect, online
from dreamerv2_base import config as configs
from dreamerv2_base import episodes

OUT = pathlib.Path('runs/x')
NAMES = {
    'coworld_best_source': 'coworld', 'coworld_multi_source': 'multi_source'}


def runs(*args, **keywords):
  steps = experiments.plan(*args, **keywords)
  return [step for step in steps if step.needs]


def config(step):
  return experiments.configuration(step.argv[1:])


@pytest.mark.parametrize('table', ['table2', 'table3', 'table4'])
def test_tables_have_the_cells_of_the_paper(table):
  results, chosen = paper.load()[table], experiments.EXPERIMENTS[table]
  assert ['->'.join(pair) for pair in chosen.pairs] == results['pairs']
  assert {NAMES.get(name, name) for name in results['methods']} == {
      *chosen.methods, *chosen.left_out}
  assert not {*chosen.left_out} & {*experiments.METHODS}
  found = collections.Counter(
      step.name.partition('-')[0]
      for step in runs(table, 'paper', OUT, [0, 1, 2]))
  assert found == {name: 18 for name in chosen.methods}


def test_transfer_matrix():
  found = runs('fig3', 'paper', OUT, [0])
  value = lambda step, key: step.argv[step.argv.index(key) + 1]
  cells = {
      (value(x, '--source_task'), value(x, '--target_task')) for x in found
      if x.name.startswith('coworld')}
  tasks = [experiments.TASKS[name] for name in experiments.METAWORLD]
  assert cells == set(itertools.permutations(tasks, 2)) and len(cells) == 30
  assert len(found) == 30 + 6 + 6
  several = config(found[-1])
  assert several.method == 'multi_source'
  assert sorted([*several.multi_source.candidates, several.target_task]) == (
      sorted(tasks))


def test_ablations_lack_one_part_each():
  whole, *others = map(config, runs('fig5a', 'paper', OUT, [0]))
  changes = [
      {key for key, value in run.flat().items()
       if value != whole.flat()[key] and key not in ('logdir', 'offline_dir')}
      for run in others]
  assert changes == [{'coworld.beta2'}, {'eta.final'}, {'coworld.alpha'}]
  assert whole.source_task == 'metaworld_button-press'
  assert whole.target_task == 'robodesk_push_green'


def test_grids():
  _, whole, *others = map(config, runs('fig6', 'paper', OUT, [0]))
  found = collections.defaultdict(set)
  for flat in (run.flat() for run in [whole, *others]):
    for key in experiments.GRIDS:
      found[key].add(flat[key])
  assert found == {
      key: set(values) for key, values in experiments.GRIDS.items()}
  assert len(others) == 12  # The settings of the suite are not repeated.


@pytest.mark.parametrize('task', experiments.TASKS.values())
def test_tasks_exist(task):
  envs.check_task(task)


@pytest.mark.parametrize('scale', experiments.SCALES)
@pytest.mark.parametrize('name', experiments.EXPERIMENTS)
def test_every_command_is_accepted(name, scale):
  pair = '-'.join(experiments.EXPERIMENTS[name].pairs[0])
  steps = experiments.plan(name, scale, OUT, [0], [pair])
  assert len({step.name for step in steps}) == len(steps)
  known = {}
  for step in steps:
    assert set(step.needs) <= set(known)
    known[step.name] = step
    if step.needs:
      run, data = config(step), known[step.needs[0]]
      inputs.check(run)
      made = collect.parse_arguments(data.argv[3:])
      assert run.target_task == made.task
      assert run.offline_dir == str(made.out) == str(data.done.parent)
      for key in inputs.SETTINGS:
        assert run[key] == getattr(made, key), key
    else:
      args = collect.parse_arguments(step.argv[3:])
      collect.check_arguments(args)
      online.agent_flags(args)


@pytest.mark.parametrize('name, pair, sources', [
    ('table3', 'CR-CD', ['dmc_walker_walk', 'dmc_cheetah_run']),
    ('fig5a', 'BP-PG', [
        'metaworld_button-press', 'metaworld_window-close',
        'metaworld_drawer-close', 'metaworld_handle-press'])])
def test_several_sources_outside_metaworld(name, pair, sources):
  step, = runs(name, 'paper', OUT, [0], [pair], ['multi_source'])
  inputs.check(config(step))
  assert config(step).multi_source.candidates == sources


def saved(tmp_path, method):
  data, run = experiments.plan(
      'table3', 'smoke', tmp_path, [0], ['WW-WD'], [method])
  data.done.parent.mkdir(parents=True)
  request = collect.make_request(collect.parse_arguments(data.argv[3:]))
  episodes.write_metadata(data.done.parent, request)
  run.done.parent.mkdir(parents=True)
  configs.save(config(run), run.done.parent / 'config.yaml')
  return data, run, request


def test_settings_of_what_is_there(tmp_path):
  data, run, request = saved(tmp_path, 'offline_dv2')
  experiments.check_settings([data, run])
  others = run._replace(argv=(*run.argv, '--discount', '0.5'))
  with pytest.raises(ValueError, match=(
      f"^{run.name}: .* discount '0.99', not '0.5'")):
    experiments.check_settings([data, others])
  places = run._replace(argv=(*run.argv, '--log_every', '7'))
  experiments.check_settings([places])
  request['requested_frames'] = 60
  del request['camera']
  episodes.write_metadata(data.done.parent, request)
  with pytest.raises(ValueError, match=(
      f"^{data.name}: .* requested_frames '60', not '120'")):
    experiments.check_settings([data, run])


def test_settings_that_came_after_a_run(tmp_path):
  *_, run, _ = saved(tmp_path, 'offline_dv2')
  path = run.done.parent / 'config.yaml'
  path.write_text(''.join(
      line for line in path.read_text().splitlines(keepends=True)
      if not line.startswith('clip_rewards:')))
  experiments.check_settings([run])
  other = run._replace(argv=(*run.argv, '--clip_rewards', 'sign'))
  with pytest.raises(ValueError, match="clip_rewards 'identity', not 'sign'"):
    experiments.check_settings([other])


def test_budgets_of_the_paper():
  *_, last = runs('table3', 'paper', OUT, [0], ['CR-CN'], ['offline_dv2'])
  run = config(last)
  schedule = run.schedule
  policy = schedule.rounds * schedule.target_blocks * (
      schedule.target_steps // (run.action_repeat * run.train_every))
  assert policy + schedule.warmup * schedule.model_updates == 300000
  # V-D4RL's settings stand against those of the paper's Table 7.
  assert run.dataset.batch == 64 and run.rssm.deter == 200
  other, = runs('table3', 'paper', OUT, [0], ['CR-CN'], ['coworld'])
  assert config(other).rssm.deter == 600 and config(other).discount == 0.995


def test_offline_methods_make_as_many_updates():
  found = []
  for method in ('dreamerv2_offline', 'offline_dv2'):
    run, = runs('table3', 'small', OUT, [0], ['WW-WD'], [method])
    blocks = list(schedule.offline(**config(run).schedule))
    per_update = config(run).action_repeat * config(run).train_every
    found.append((
        schedule.total(blocks, 'target_model'),
        schedule.total(blocks, 'target') // per_update))
  assert found == [(500, 2500), (1500, 1500)]


def test_experiments_share_steps():
  table = {x.name: x for x in experiments.plan('table2', 'small', OUT, [0])}
  figure = {x.name: x for x in experiments.plan('fig3', 'small', OUT, [0])}
  shared = table.keys() & figure.keys()
  assert len(shared) == 6 + 6 + 6 + 6  # Data, offline_dv2, coworld, several.
  assert all(table[name] == figure[name] for name in shared)
  replay, expert = [
      {x.name for x in experiments.plan(name, 'small', OUT, [0])}
      for name in ('table3', 'table4')]
  assert not replay & expert  # Their datasets differ.
  agents = [
      {x.argv[x.argv.index('--agent_logdir') + 1]
       for x in experiments.plan(name, 'small', OUT, [0]) if not x.needs}
      for name in ('table3', 'table4')]
  assert agents[0] == agents[1] and len(agents[0]) == 6


def test_choice_of_seeds_pairs_and_methods():
  found = runs('table3', 'small', OUT, [4, 2], ['WW-WU', 'CR-CD'],
               ['dreamerv2_offline', 'coworld'])
  assert [config(step).seed for step in found] == [4] * 4 + [2] * 4
  assert {config(step).target_task for step in found} == {
      'dmc_walker_uphill', 'dmc_cheetah_downhill'}
  with pytest.raises(ValueError, match="'WW-WW', use some of WW-WD"):
    runs('table3', 'small', OUT, [0], ['WW-WW'])
