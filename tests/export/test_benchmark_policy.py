"""The benchmark of policies measures all forms and judges the SavedModel."""

import collections
import json

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import policy
from dreamerv2_base import agent

FORMS = [
    'live, eager', 'live, tf.function', 'SavedModel', 'TFLite',
    'bare products']


def test_all_forms_are_measured(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(policy, 'RESULTS', tmp_path / 'results' / 'policy.json')
  flags = '--configs debug --batches 1 3 --rounds 2 --seconds 0.01'
  assert policy.main(flags.split()) == 0
  result = json.loads(policy.RESULTS.read_text())
  assert result['command'] == f'python -m benchmarks.policy {flags}'
  assert result['machine']['threads'] >= 1
  assert list(result['batches']) == ['1', '3']
  for rows in result['batches'].values():
    assert list(rows) == FORMS
    for row in rows.values():
      assert 0 < row['least'] <= row['microseconds'] < 1e6 and row['cpu'] > 0
    # Hundreds of operations, one by one, against a dozen.
    assert rows['live, eager']['cpu_ratio'] > 3
    assert rows[policy.FLOOR]['ratio'] == 1
  lines = capsys.readouterr().out.splitlines()
  assert sum(line.startswith('| 3 | ') for line in lines) == len(FORMS)
  assert len({line.count('|') for line in lines if '|' in line}) == 1


def products(graph):
  """Counts the products of a graph by their kind and width."""
  functions = [graph, *(x.graph for x in graph._functions.values())]
  return collections.Counter(
      (x.type, x.outputs[0].shape[-1]) for function in functions
      for x in function.get_operations() if x.type in ('Conv2D', 'MatMul'))


@pytest.mark.parametrize('discrete', [0, 4])
def test_floor_is_all_products_of_a_step(make_config, discrete):
  config = make_config({'rssm.discrete': discrete, 'compile': 'graph'}, {})
  images = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
  player = agent.Agent(config, {'image': images}, policy.ACTIONS)
  step = policy.products(player, 2)
  assert step().shape == (2, 6)
  floor = products(tf.function(step).get_concrete_function().graph)
  obs = {
      'image': tf.zeros([2, 64, 64, 3], tf.uint8),
      'is_first': tf.zeros([2], tf.bool)}
  live = products(player.policy.get_concrete_function(
      obs, player.initial(2), tf.zeros([2], tf.int32), 'mode').graph)
  # Neither the prior nor the deviation of the action changes what is done.
  unneeded = collections.Counter(
      [('MatMul', 8), ('MatMul', 4 * (discrete or 2)), ('MatMul', 6)])
  assert live - floor == unneeded and floor.total() == 10
  assert not floor - live


@pytest.mark.parametrize('row, lines', [
    ({'microseconds': 5000.0, 'ratio': 1.5}, []),
    ({'microseconds': 5000.1, 'ratio': 1.51}, [
        'batch 1: SavedModel takes 5000.1 us, not at most 5000',
        'batch 64: SavedModel takes 1.51 times the bare products, not at '
        'most 1.5'])])
def test_missed_targets_are_named(row, lines):
  batches = {batch: {'SavedModel': row} for batch in (1, 7, 64)}
  assert policy.misses(batches) == lines


def test_ratios_are_taken_within_rounds():
  turns = {
      'SavedModel': [(3e-6, 2e-6, 4e-6), (8e-6, 3e-6, 8e-6), (6e-6,) * 3],
      'bare products': [(1e-6, 1e-6, 2e-6), (8e-6, 1e-6, 2e-6), (3e-6,) * 3]}
  assert policy.judge(turns)['SavedModel'] == {
      'microseconds': 6.0, 'least': 2.0, 'cpu': 6.0, 'ratio': 2.0,
      'cpu_ratio': 2.0}


@pytest.mark.parametrize('flags, message', [
    (['--rounds', '0'], 'must be positive'),
    (['--batches', '1', '0'], 'must be positive'),
    (['--seconds', '0'], 'must be positive'),
    (['--configs', 'smal'], "did you mean 'small'?")])
def test_wrong_flags_are_one_line(flags, message, capsys):
  with pytest.raises(SystemExit) as info:
    policy.main(flags)
  error = capsys.readouterr().err
  assert info.value.code == 2 and error.count('\n') == 1 and message in error
