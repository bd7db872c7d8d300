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


def run(make=schedule.algorithm_1, **override):
  return list(make(**{**METAWORLD, **override}))


def amounts(blocks):
  """Phases and amounts without the sources."""
  return [(block.phase, block.amount) for block in blocks]


def training(blocks):
  return [x for x in amounts(blocks) if not x[0].startswith('evaluate')]


def test_order_of_the_phases():
  source = [('evaluate_source', 0), ('source', 10_000)]
  aligned = [('evaluate_source', 0), ('source_aligned', 10_000)]
  target = [('evaluate_target', 0), ('target', 10_000)]
  expected = [('evaluate_random', 0), ('prefill', 5000), *source * 3]
  expected += [('target_model', 10_000), *aligned] * 2
  expected += [*target * 5, *aligned * 2] * 5 + target * 5
  assert amounts(run()) == [*expected, ('evaluate_final', 0)]


def test_amounts_are_those_of_the_paper():
  blocks = run()
  totals = {
      phase: schedule.total(blocks, phase) for phase, _ in amounts(blocks)}
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
  names = [block.phase for block in blocks]
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
  blocks = run(schedule.online, source_pretrain=2)
  assert {block.source for block in blocks[:-1]} == {0}
  assert amounts(blocks) == [
      ('prefill', 5000), ('evaluate_source', 0), ('source', 10_000),
      ('evaluate_source', 0), ('source', 10_000), ('evaluate_final', 0)]


@pytest.mark.parametrize('warmup, rounds', [(1, 0), (0, 1)])
def test_parts_may_be_left_out(warmup, rounds):
  names = [name for name, _ in training(run(
      warmup=warmup, rounds=rounds, source_pretrain=0))]
  expected = {
      (1, 0): ['target_model', 'source_aligned'], (0, 1): ['target'] * 5}
  assert names == ['prefill', *expected[warmup, rounds]]


def test_offline_agent_has_the_updates_of_the_target():
  blocks, expected = run(schedule.offline), run()
  assert not any('source' in block.phase for block in blocks)
  for phase in ('target_model', 'target'):
    assert schedule.total(blocks, phase) == schedule.total(expected, phase)
  names = [block.phase for block in blocks]
  assert names[:3] == ['evaluate_random', 'target_model', 'target_model']
  assert names.count('evaluate_target') == 30


def test_finetuning_spends_the_frames_of_coworld():
  blocks, expected = run(schedule.finetune, sequences=7), run()
  online = lambda blocks: sum(
      schedule.total(blocks, x) for x in ('source', 'source_aligned'))
  assert online(blocks) == online(expected) == 150_000
  assert schedule.total(blocks, 'target') == 300_000
  names = [name for name, _ in training(blocks)]
  last = len(names) - names[::-1].index('source')
  assert names[last] == 'hand_over' and set(names[last + 1:]) == {'target'}
  assert schedule.total(blocks, 'hand_over') == 7


def test_several_sources_learn_alone_before_one_is_selected():
  blocks = run(sources=2, warmup=1, rounds=2, source_pretrain=1)
  assert [(block.phase, block.source) for block in blocks
          if not block.phase.startswith('evaluate')] == [
      ('prefill', 0), ('source', 0), ('prefill', 1), ('source', 1),
      ('target_model_alone', None), ('select', None), ('target_model', None),
      ('source_aligned', None), ('select', None), *[('target', None)] * 5,
      *[('source_aligned', None)] * 2, ('select', None),
      *[('target', None)] * 5]
  for reselect in ('once', 'step'):
    names = [x.phase for x in run(sources=2, reselect=reselect)]
    assert names.count('select') == 1
  assert 'select' not in [x.phase for x in run(sources=1)]


def test_target_may_take_over_the_pretrained_source():
  names = [name for name, _ in training(run(from_source=True))]
  assert names[3:6] == ['source', 'hand_over', 'target_model']
