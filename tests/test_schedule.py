import pathlib
from itertools import groupby

import pytest

from coworld_tf import schedule
from dreamerv2_base import flags

CONFIGS = pathlib.Path(__file__).parents[1] / 'configs'
METAWORLD = {
    'prefill': 5000, 'source_pretrain': 3, 'warmup': 2, 'rounds': 6,
    'target_blocks': 5, 'source_blocks': 2, 'source_steps': 10_000,
    'target_steps': 10_000, 'model_updates': 10_000}


def run(**override):
  return list(schedule.algorithm_1(**{**METAWORLD, **override}))


def training(blocks):
  return [block for block in blocks if not block[0].startswith('evaluate')]


def test_order_of_the_phases():
  source = [('evaluate_source', 0), ('source', 10_000)]
  aligned = [('evaluate_source', 0), ('source_aligned', 10_000)]
  target = [('evaluate_target', 0), ('target', 10_000)]
  expected = [('evaluate_random', 0), ('prefill', 5000), *source * 3]
  expected += [('target_model', 10_000), *aligned] * 2
  expected += [*target * 5, *aligned * 2] * 5 + target * 5
  assert run() == [*expected, ('evaluate_final', 0)]


def test_amounts_are_those_of_the_paper():
  blocks = run()
  totals = {phase: schedule.total(blocks, phase) for phase, _ in blocks}
  assert totals['prefill'] == 5_000
  assert totals['source'] == 30_000
  assert totals['source_aligned'] == 20_000 + 100_000
  assert totals['target'] == 300_000
  assert totals['target_model'] == 20_000
  assert {totals[name] for name in totals if 'evaluate' in name} == {0}


def test_defaults_are_those_of_meta_world():
  config = flags.parse([], CONFIGS)
  assert config.schedule.to_dict() == METAWORLD
  assert config.train_every == 5 and config.pretrain == 100


def test_target_is_evaluated_before_each_block_and_at_the_end():
  blocks = run()
  names = [name for name, _ in blocks]
  assert names.count('evaluate_target') == 30
  assert names.count('evaluate_final') == 1 and names[-1] == 'evaluate_final'
  for before, name in zip(names, names[1:]):
    assert (name == 'target') == (before == 'evaluate_target')
    assert name.startswith('source') == (before == 'evaluate_source')


def test_last_round_has_no_source_block():
  names = [name for name, _ in training(run(rounds=2))]
  rounds = names[names.index('target'):]
  assert [(name, len(list(group))) for name, group in groupby(rounds)] == [
      ('target', 5), ('source_aligned', 2), ('target', 5)]


def test_online_agent_never_meets_a_target():
  blocks = run(target=False, source_pretrain=2)
  assert blocks == [
      ('prefill', 5000), ('evaluate_source', 0), ('source', 10_000),
      ('evaluate_source', 0), ('source', 10_000), ('evaluate_final', 0)]


@pytest.mark.parametrize('warmup, rounds', [(1, 0), (0, 1)])
def test_parts_may_be_left_out(warmup, rounds):
  names = [name for name, _ in training(run(
      warmup=warmup, rounds=rounds, source_pretrain=0))]
  expected = {
      (1, 0): ['target_model', 'source_aligned'], (0, 1): ['target'] * 5}
  assert names == ['prefill', *expected[warmup, rounds]]
