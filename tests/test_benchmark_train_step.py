"""The speed of updates is measured and judged correctly."""

import json
import os
import types

import pytest
import tensorflow as tf

from benchmarks import official, replay
from benchmarks.train_step import (
  __main__ as train_step,
)
from benchmarks.train_step import (
  components,
  contender,
  scaling,
  turns,
  updates,
)
from dreamerv2_base import flags

ARGS = types.SimpleNamespace(contenders=None, rounds=2, updates=1)


@pytest.mark.parametrize('name', updates.CONTENDERS)
def test_contenders_have_valid_flags(name):
  kind, settings = updates.CONTENDERS[name]
  assert kind in contender.KINDS
  kind, *rest = turns.command(kind, ['--configs', 'debug'], settings)
  config = flags.parse(rest, contender.CONFIGS).flat()
  assert all(str(config[key]) == x for key, x in settings.items())
  assert config['precision'] == settings.get('precision', '32')
  assert config['compile'] == settings.get('compile', 'graph')


def entry(cpu, wall=(1.0, 1.0), peak=100, first=9.0, traces=1):
  return {'first': first, 'rounds': [
      {'cpu': x, 'wall': y, 'peak_mb': peak, 'traces': traces}
      for x, y in zip(cpu, wall, strict=True)]}


def found_turns():
  return {
      'official': entry([4.0, 12.0], peak=200), 'dreamerv2': entry([2.0, 4.0]),
      'target-cached': entry([2.0, 6.0], peak=201, first=16.0, traces=2),
      'dreamerv2-bfloat16': entry([1.0, 2.0], wall=(0.5, 1.5)),
      'target-bfloat16': entry([1.0, 4.0]),
      'floor': entry([1.0, 1.0]), 'floor-bfloat16': entry([0.5, 0.5])}


def test_ratios_are_taken_within_rounds(monkeypatch):
  monkeypatch.setattr(turns, 'threads', lambda: 2)
  rows = updates.judge(found_turns(), frames=8, operations=10 ** 9)
  assert rows['dreamerv2'] == {
      'cpu': 1.5, 'wall': 1.0, 'peak_mb': 100, 'frames_per_second': 8.0,
      'first': 9.0, 'traces': 1, 'floor': 3.0, 'plain': 1.0, 'speedup': 2.5,
      'memory': 0.5}
  assert rows['target-cached']['plain'] == 1.25
  # Low precision is compared with its own floor and its own plain update.
  assert rows['target-bfloat16']['plain'] == 1.5
  assert rows['target-bfloat16']['floor'] == 5.0
  assert rows['floor'] == {
      'cpu': 0.5, 'wall': 1.0, 'peak_mb': 100, 'gflops': 2}
  few = updates.judge(
      {name: found_turns()[name] for name in ('target-cached', 'floor')},
      8, 10 ** 9)
  assert not {'speedup', 'plain', 'memory'} & set(few['target-cached'])


def test_every_target_has_a_verdict(monkeypatch):
  monkeypatch.setattr(turns, 'threads', lambda: 2)
  turned = found_turns()
  turned['dreamerv2']['rounds'][0]['peak_mb'] = 200
  found = {'rows': updates.judge(turned, 8, 10 ** 9)}
  lines = updates.verdicts({'dmc_vision': found})
  assert len(lines) == len(updates.TARGETS)
  assert lines[:4] == [
      'small: dreamerv2 or dreamerv2-unrolled: official / this at least 1.3: '
      'not measured',
      'dmc_vision: dreamerv2: official / this at least 1.8: met, 2.5',
      'dmc_vision: dreamerv2-bfloat16: official / this at least 2.7: met, 5',
      'dmc_vision: target-cached: this / dreamerv2 at most 1.05: missed, 1.25']
  assert [x for x in lines[4:] if 'missed' in x] == [
      'dmc_vision: target-cached: first update s at most 15: missed, 16',
      'dmc_vision: target-cached: traces at most 1: missed, 2',
      'dmc_vision: target-cached: peak MB / official below 1: missed, 1.005']
  assert [x for x in lines if 'not measured' in x][1:] == [
      f'dmc_vision: source: {text}: not measured' for text in (
          'this / dreamerv2 at most 1.3', 'first update s at most 15',
          'traces at most 1', 'peak MB / official below 1')]


@pytest.mark.parametrize('plain, unrolled, end', [
    (1.7, 1.9, 'dreamerv2-unrolled: official / this at least 1.8: met, 1.9'),
    (1.8, 1.7, 'dreamerv2: official / this at least 1.8: met, 1.8'),
    (1.79999, 1.7, 'dreamerv2: official / this at least 1.8: missed, 1.8')])
def test_the_faster_loop_counts(plain, unrolled, end):
  rows = {
      'dreamerv2': {'speedup': plain},
      'dreamerv2-unrolled': {'speedup': unrolled}}
  lines = updates.verdicts({'dmc_vision': {'rows': rows}})
  assert f'dmc_vision: {end}' in lines


def test_as_much_memory_is_not_below():
  rows = {'dreamerv2': {'memory': 1.0}}
  assert ('dmc_vision: dreamerv2: peak MB / official below 1: missed, 1' in
          updates.verdicts({'dmc_vision': {'rows': rows}}))


@pytest.mark.parametrize('target', updates.TARGETS)
def test_targets_are_of_contenders(target):
  size, names, key, side, _ = target
  assert size in train_step.SIZES and set(names) <= set(updates.CONTENDERS)
  assert key in updates.COLUMNS and side in updates.SIDES


def test_groups_have_what_they_are_compared_with():
  found = updates.groups(list(updates.CONTENDERS), 5)
  assert {x for group in found for x in group} == set(updates.CONTENDERS)
  for group in found:
    assert len(group) <= 5 and 'official' in group
    assert {updates.plain_of(name) for name in group[1:]} <= set(group)
  assert updates.groups(updates.FEWER, 3) == [
      ['official', 'dreamerv2', 'dreamerv2-bfloat16'],
      ['official', 'dreamerv2', 'target-cached']]
  assert updates.groups(['source', 'target'], 1) == [['source'], ['target']]


def test_rows_of_other_contenders_are_kept():
  old = updates.merge(
      {}, {'operations': 1, 'rows': {'a': {'cpu': 1}, 'b': {'cpu': 2}}}, 'x')
  found = {'operations': 1, 'rows': {'b': {'cpu': 3}}}
  assert updates.merge(old, found, 'y')['rows'] == {
      'a': {'cpu': 1, 'run': 'x'}, 'b': {'cpu': 3, 'run': 'y'}}
  assert list(updates.merge(
      old, {**found, 'operations': 2}, 'y')['rows']) == ['b']


def test_growth_is_judged():
  axes = lambda batch, steps: {'axes': {
      'dataset.batch': {'exponents': {'cpu': batch, 'peak_mb': 0.5}},
      'steps': {'exponents': {'cpu': steps, 'peak_mb': 0.0}}}}
  assert scaling.verdicts({'small': axes(1.05, 0.0101)}) == [
      'small: cpu over batch linear: met, power of 1.05',
      'small: peak_mb over batch linear: met, power of 0.5',
      'small: cpu over dataset steps flat: missed, power of 0.0101',
      'small: peak_mb over dataset steps flat: met, power of 0']
  assert 'missed' in scaling.verdicts({'small': axes(1.0501, 0)})[0]


def test_updates_are_measured(tmp_path, capsys):
  words = '--sizes debug --rounds 2 --updates 1 --contenders dreamerv2 --out'
  out = str(tmp_path / 'results')
  assert train_step.main([*words.split(), out]) == 0
  table = capsys.readouterr().out
  result = json.loads((tmp_path / 'results/train_step.json').read_text())
  rows = result['debug']['rows']
  row = rows['dreamerv2']
  assert list(rows) == ['dreamerv2', 'floor']
  assert row['traces'] == row['plain'] == 1 and row['floor'] > 1
  assert 0 < row['cpu'] < row['first']
  assert row['peak_mb'] > 200 and row['frames_per_second'] > 1
  assert rows['floor']['gflops'] > 1 and result['debug']['frames'] == 32
  assert row['run']['command'].endswith(out)
  plot = tmp_path / 'results' / 'speed.png'
  assert plot.read_bytes().startswith(b'\x89PNG')
  assert train_step.main(['--table', '--sizes', 'debug', '--out', out]) == 0
  assert capsys.readouterr().out == table
  assert table.count('\n| ') == 2
  assert table.count('not measured\n') == len(updates.TARGETS)
  assert train_step.main(['--table', '--sizes', 'small', '--out', out]) == 0
  assert '\n| ' not in capsys.readouterr().out


def test_parts_are_measured(monkeypatch):
  theirs = components.CONTENDERS['official']
  monkeypatch.setattr(components, 'STEPS', ['critic gradient', 'optimizers'])
  monkeypatch.setattr(components, 'CONTENDERS', {'official': theirs})
  found = components.measure('debug', ['--configs', 'debug'], ARGS)
  assert list(found['rows']) == components.STEPS
  for row in found['rows'].values():
    assert row['official']['speedup'] == 1 and row['official']['ms'] > 0
  assert components.table('debug', found).count('\n| ') == 3


def make_batches(directory=None, *words):
  config = flags.parse(
      ['--configs', 'debug', '--precision', '32', *words], contender.CONFIGS)
  return config, contender.Batches(config, directory)


@pytest.mark.parametrize('kind, metric, words', [
    ('target', 'align_kl', []), ('target_cached', 'align_kl', []),
    ('source', 'relabel_loss', []),
    ('multi_source', 'align_kl', ['--multi_source.reselect', 'round']),
    ('multi_source', 'selected_1', ['--multi_source.reselect', 'step'])])
def test_contenders_make_the_update_of_their_name(kind, metric, words):
  config, batches = make_batches(None, *words)
  step, _, share = contender.KINDS[kind](config, batches, 2)['update']
  assert metric in step() and share == 1


def test_every_part_of_our_update_is_made():
  config, batches = make_batches()
  steps = contender.our_parts(config, batches, 1)
  assert set(components.STEPS) == set(steps)
  for name in ('encoder gradient', 'decoder gradient'):
    step, functions, _ = steps[name]
    assert all(float(tf.norm(x)) > 0 for x in step())
    assert functions[0].experimental_get_tracing_count() == 1


def test_batches_come_from_a_dataset(tmp_path):
  replay.build_store(tmp_path / 'data', 1)
  _, batches = make_batches(tmp_path / 'data')
  first, second = batches(), batches()
  assert first['image'].shape == (4, 8, 64, 64, 3)
  assert (first['image'].numpy() != second['image'].numpy()).any()


def test_axes_grow():
  axes = scaling.commands(
      ['--configs', 'small'], {500: 'data/1', 1000: 'data/2'})
  parse = lambda argv: flags.parse(
      argv[argv.index('--configs'):], contender.CONFIGS).flat()
  for axis in scaling.FACTORS:
    for point, argv in axes[axis].items():
      assert parse(argv)[axis] == point
  assert list(axes['dataset.batch']) == [2, 4, 8, 16]
  assert list(axes['imag_horizon']) == [5, 15, 30]
  assert [argv[1] for argv in axes['sources'].values()] == ['1', '2', '4']
  assert [argv[1] for argv in axes['steps'].values()] == ['data/1', 'data/2']
  assert scaling.resized(['--imag_horizon', '3'], 'imag_horizon', 6) == [
      '--imag_horizon', '6']


def test_growth_is_of_the_ends(monkeypatch):
  monkeypatch.setattr(turns, 'threads', lambda: 2)
  found = scaling.judge({
      2: entry([1.0, 2.0]), 4: entry([9.0, 9.0]),
      8: entry([16.0, 32.0], peak=200)})
  assert found['exponents'] == {'cpu': 2.0, 'peak_mb': 0.5}
  assert found['points'][0] == {'at': 2, 'cpu': 0.75, 'peak_mb': 100}
  table = scaling.table('small', {'axes': {'imag_horizon': found}})
  assert table.split('\n')[-1] == (
      '| horizon | 2, 4, 8 | 0.75, 4.5, 12 | 100, 100, 200 | 2.00 | 0.50 |')


def test_failures_of_contenders_are_told():
  with turns.Contender(['dreamerv2', '--unknown', '1']) as process:
    with pytest.raises(RuntimeError, match="unknown flag '--unknown'"):
      process('update', 1)


@pytest.mark.parametrize('words, message', [
    (['--rounds', '0'], '--rounds and --updates must be positive'),
    (['--contenders', 'them'], "--contenders: 'them', use some of official"),
    (['--table', '--contenders', 'source'], 'for whole updates only'),
    (['--scaling', '--contenders', 'source'], 'for whole updates only'),
    (['--sizes', 'debug'], '--sizes debug: is for tests'),
    (['--out', '/dev/null/x'], '/dev/null')])
def test_wrong_arguments_are_told(words, message, capsys):
  with pytest.raises(SystemExit) as info:
    train_step.main(words)
  assert info.value.code == 2 and message in capsys.readouterr().err


def test_damaged_results_are_told_before_measuring(tmp_path, capsys):
  (tmp_path / 'train_step.json').write_text('{')
  with pytest.raises(SystemExit, match='2'):
    train_step.main(['--out', str(tmp_path)])
  assert 'train_step.json: damaged' in capsys.readouterr().err


@pytest.mark.parametrize('words', [[], ['--components']])
def test_an_absent_official_agent_is_told(words, monkeypatch, capsys):
  monkeypatch.setattr(official, 'PACKAGE', 'absent_package')
  with pytest.raises(SystemExit, match='2'):
    train_step.main(words)
  assert 'the official agent is not installed' in capsys.readouterr().err


def test_no_threads_are_all(monkeypatch):
  monkeypatch.setenv('TF_NUM_INTRAOP_THREADS', '3')
  assert turns.threads() == 3
  monkeypatch.setenv('TF_NUM_INTRAOP_THREADS', '0')
  assert turns.threads() == len(os.sched_getaffinity(0))
