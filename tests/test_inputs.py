import pathlib

import numpy as np
import pytest

from coworld_tf import inputs
from dreamerv2_base import config as configs
from dreamerv2_base import episodes, flags, store

CONFIGS = pathlib.Path(__file__).parents[1] / 'configs'
PATHS = {'logdir': 'runs/log', 'offline_dir': 'data/walker'}
SETTINGS = {
    'task': 'dmc_walker_downhill', 'action_repeat': 2, 'time_limit': 0,
    'size': 64, 'camera': '', 'quality': 'exact'}


def parse(*overlays, **values):
  argv = ['--configs', 'dmc', *overlays]
  for key, value in {**PATHS, **values}.items():
    argv += [f'--{key}', *map(str, value if isinstance(value, list) else [
        value])]
  return flags.parse(argv, CONFIGS)


def write_dataset(directory, rows=60, count=1, **metadata):
  directory.mkdir()
  first = np.zeros(rows, bool)
  first[0] = True
  with store.Writer(directory) as data:
    for _ in range(count):
      data.append({
          'image': np.zeros([rows, 64, 64, 3], np.uint8),
          'action': np.zeros([rows, 6], np.float32),
          'reward': np.zeros(rows, np.float32), 'is_first': first,
          'is_last': first[::-1], 'is_terminal': np.zeros(rows, bool)})
  if metadata:
    episodes.write_metadata(directory, {**SETTINGS, **metadata})


@pytest.mark.parametrize('size', ['small', 'debug', 'paper', 'official_code'])
@pytest.mark.parametrize(
    'method', [x for x in inputs.METHODS if x != 'multi_source'])
def test_overlays_go_together(method, size):
  config = parse(method, size)
  inputs.check(config)
  assert config.method == method


@pytest.mark.parametrize('key, value', [
    ('method', 'dreamer'), ('compile', 'jit'), ('precision', '8'),
    ('quality', 'best'), ('coworld.constraint', 'min'),
    ('coworld.action_adapter', 'pad'), ('coworld.target_init', 'source'),
    ('align.reduction', 'sum'), ('eta.mode', 'lineal'),
    ('multi_source.reselect', 'never'),
    ('clip_rewards', 'none'), ('rssm.std_act', 'exp'),
    ('actor_grad', 'policy')])
def test_misspelt_choice_is_named_with_the_others(key, value):
  with pytest.raises(ValueError, match=f"^{key}: '{value}', use one of "):
    inputs.check(parse(**{key: value}))
  for choice in inputs.CHOICES[key]:
    config = parse(
        task='dmc_walker_walk', **{
            'multi_source.candidates': ['dmc_walker_walk'], key: choice})
    inputs.check(config)


@pytest.mark.parametrize('key, value', [
    ('seed', -1), ('seed', 2 ** 30), ('schedule.prefill', 0),
    ('schedule.prefill', 1), ('schedule.source_pretrain', -1),
    ('schedule.rounds', -1), ('schedule.target_steps', -1),
    ('imag_horizon', 1), ('dataset.length', 1), ('dataset.batch', 0),
    ('rssm.ensemble', 0), ('offline_dv2.penalty', -1.0),
    ('slow_target_update', 0), ('evaluation.envs', 0), ('time_limit', 49)])
def test_numbers_out_of_range_are_named(key, value):
  with pytest.raises(ValueError, match=f'^{key}: {value} '):
    inputs.check(parse(**{key: value}))


def test_method_without_a_simulator_needs_no_source():
  for method in ('dreamerv2_offline', 'offline_dv2'):
    config = parse(
        method, source_task='', **{'schedule.prefill': 0})
    inputs.check(config)
    assert inputs.source_tasks(config) == []
    assert inputs.target_tasks(config) == ['dmc_walker_downhill']


@pytest.mark.parametrize('size', ['small', 'paper', 'comparison'])
@pytest.mark.parametrize('method, keys', {
    'offline_dv2': ('imag_horizon', 'rssm.ensemble'),
    'no_state_alignment': ('coworld.beta2',),
    'no_reward_alignment': ('eta.final',),
    'no_value_constraint': ('coworld.alpha',),
    'brute_force': ('coworld.constraint',)}.items())
def test_sizes_do_not_undo_a_method(method, keys, size):
  before, after = parse(method).flat(), parse(method, size).flat()
  for key in keys:
    assert before[key] == after[key] != parse('coworld').flat()[key]


def test_offline_dv2_needs_updates_of_the_model():
  for key in ('schedule.warmup', 'schedule.model_updates'):
    with pytest.raises(ValueError, match=f'^{key}: 0 must be at least 1'):
      inputs.check(parse('offline_dv2', **{key: 0}))


def test_candidates_of_several_sources():
  def check(*tasks, **override):
    inputs.check(parse(
        'multi_source', **{'multi_source.candidates': [*tasks], **override}))
  tasks = 'dmc_walker_walk', 'metaworld_door-close'
  check(*tasks)
  for words, call in {
      'candidates is not set': lambda: inputs.check(parse('multi_source')),
      'walker_walk is given more than once': lambda: check(*tasks, tasks[0]),
      'walker_wolk': lambda: check('dmc_walker_wolk'),
      'from_source is for one source': lambda: check(
          *tasks, **{'coworld.target_init': 'from_source'})}.items():
    with pytest.raises(ValueError, match=words):
      call()


def test_smallest_numbers_pass():
  inputs.check(parse(**{
      'schedule.prefill': 2, 'schedule.source_pretrain': 0,
      'schedule.rounds': 0, 'seed': 2 ** 30 - 1, 'imag_horizon': 2}))


def test_unfinished_dataset_is_refused_unless_told(tmp_path):
  directory = tmp_path / 'data'
  write_dataset(directory, complete=False)
  with pytest.raises(ValueError, match='unfinished; run the command that'):
    inputs.open_dataset(parse(offline_dir=directory))
  config = parse(offline_dir=directory, allow_mismatch=True)
  assert inputs.open_dataset(config).stats['episodes'] == 1


@pytest.mark.parametrize('key, value', [
    ('task', 'dmc_walker_uphill'), ('quality', 'fast'), ('action_repeat', 1)])
def test_dataset_of_other_settings_is_refused(tmp_path, key, value):
  directory = tmp_path / 'data'
  write_dataset(directory, complete=True, **{key: value})
  with pytest.raises(ValueError, match=f"made with {key} '{value}'"):
    inputs.open_dataset(parse(offline_dir=directory))
  inputs.open_dataset(parse(offline_dir=directory, allow_mismatch=True))


def test_dataset_is_never_cut_and_needs_no_metadata(tmp_path, caplog):
  directory = tmp_path / 'data'
  write_dataset(directory, count=3)
  config = parse(offline_dir=directory, capacity=70)
  assert inputs.open_dataset(config).stats['steps'] == 3 * 59
  assert 'has no metadata.json' in caplog.text


def test_datasets_that_cannot_be_used(tmp_path):
  directory = tmp_path / 'data'
  directory.mkdir()
  config = parse(offline_dir=directory)
  with pytest.raises(ValueError, match='holds no episodes; make some with'):
    inputs.open_dataset(config)
  (directory / 'episode.npz').touch()
  with pytest.raises(ValueError, match=f'datasets import {directory} --out'):
    inputs.open_dataset(config)
  write_dataset(tmp_path / 'short', rows=49)
  with pytest.raises(ValueError, match='no episode of 50 rows .* has 49 rows'):
    inputs.open_dataset(parse(offline_dir=tmp_path / 'short'))


def test_run_is_continued_with_the_same_configuration(tmp_path):
  config = parse()
  inputs.check_logdir(config, tmp_path)
  configs.save(config, tmp_path / 'config.yaml')
  inputs.check_logdir(config, tmp_path)
  inputs.check_logdir(parse(
      logdir='moved', offline_dir='elsewhere', log_every=1,
      checkpoint_every=1, **{'evaluation.envs': 1}), tmp_path)
  changes = {'coworld.alpha': 3, 'seed': 1}
  with pytest.raises(ValueError) as info:
    inputs.check_logdir(parse(**changes), tmp_path)
  assert "a run with seed '0' instead of '1', coworld.alpha '1.0' " in (
      str(info.value))
  inputs.check_logdir(parse(resume='force', **changes), tmp_path)
  with pytest.raises(ValueError, match='holds a run; choose another'):
    inputs.check_logdir(parse(resume='never'), tmp_path)
  with pytest.raises(ValueError, match="resume: 'always', use one of never"):
    inputs.check(parse(resume='always'))


@pytest.mark.parametrize('stored', ['32', 'bfloat16', '16'])
def test_run_keeps_the_precision_that_it_began_with(tmp_path, stored):
  assert inputs.continued(parse(), tmp_path).precision == 'auto'
  configs.save(parse(precision=stored), tmp_path / 'config.yaml')
  inputs.check_logdir(parse(), tmp_path)
  assert inputs.continued(parse(), tmp_path) == parse(precision=stored)
  other = parse(precision={'32': '16'}.get(stored, '32'), resume='force')
  assert inputs.continued(other, tmp_path) == other
  with pytest.raises(ValueError, match=f"with precision '{stored}' instead"):
    inputs.check_logdir(
        configs.merge(other, {'resume': 'auto'}, 'test'), tmp_path)


def test_precision_of_a_damaged_run_is_named(tmp_path):
  (tmp_path / 'config.yaml').write_text("precision: '8'\n")
  with pytest.raises(ValueError, match="^precision: '8', use one of auto, 32"):
    inputs.continued(parse(), tmp_path)
