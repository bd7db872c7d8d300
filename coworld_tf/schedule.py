"""Algorithm 1 of the paper, and the schedules of the methods beside it.

The paper calls the amounts K1 and K2, but swaps them between its text and its
table; here they have names. A frame is one simulator step. Target updates are
counted by the frames they stand for: one update per `train_every` agent steps
of `action_repeat` frames. The target is never trained in a simulator.

Phases and the units of their amounts:

    evaluate_random           at the start, if there is a target
    prefill                   frames of random actions in the source
    evaluate_source           before each source block
    source, source_aligned    frames, without and with stage B
    hand_over                 the target takes over what the source learned;
                              source sequences for the Fisher information
    target_model_alone        updates of the world model, without a source
    select                    choice of the source, with several (Eq. 12)
    target_model              updates of the world model; stage A
    evaluate_target           before each target block
    target                    frames; stages A and C
    evaluate_final            of the target, or of the source if alone

The keys of the group `schedule` in configs/defaults.yaml are the arguments of
all schedules here, of which each takes what it needs.
"""

import typing


class Block(typing.NamedTuple):
  """A part of a run: what happens, how much of it, in which source."""
  phase: str
  amount: int = 0
  source: int | None = None  # Index, or None for the selected one.


def algorithm_1(
    prefill, source_pretrain, warmup, rounds, target_blocks, source_blocks,
    source_steps, target_steps, model_updates, from_source=False, sources=1,
    reselect='round'):
  """Yields the blocks of CoWorld in order.

  Args:
    prefill: frames.
    source_pretrain: number of source blocks without stage B.
    warmup: number of pairs of a target_model and a source_aligned block.
    rounds: number of rounds of co-training.
    target_blocks: target blocks per round.
    source_blocks: source blocks per round, except in the last.
    source_steps: frames per source block.
    target_steps: frames per target block.
    model_updates: updates per target_model block.
    from_source: whether the target's world model starts as the source's.
    sources: number of sources; with several, each learns alone before one is
      selected (App. C).
    reselect: 'round' to select again in each round.
  """
  yield Block('evaluate_random')
  for index in range(sources):
    yield Block('prefill', prefill, index)
    yield from _source('source', source_pretrain, source_steps, index)
  if from_source:
    yield Block('hand_over')
  if sources > 1:
    yield Block('target_model_alone', model_updates)
    yield Block('select')
  for _ in range(warmup):
    yield Block('target_model', model_updates)
    yield from _source('source_aligned', 1, source_steps)
  for index in range(rounds):
    if sources > 1 and reselect == 'round':
      yield Block('select')
    yield from _target(target_blocks, target_steps)
    if index < rounds - 1:
      yield from _source('source_aligned', source_blocks, source_steps)
  yield Block('evaluate_final')


def online(prefill, source_pretrain, source_steps, **_):
  """Yields the blocks of an agent in a simulator alone."""
  yield Block('prefill', prefill, 0)
  yield from _source('source', source_pretrain, source_steps, 0)
  yield Block('evaluate_final')


def offline(warmup, rounds, target_blocks, target_steps, model_updates, **_):
  """Yields the blocks of an agent with a dataset alone.

  As many updates as those of CoWorld's target, warm-up included.
  """
  yield Block('evaluate_random')
  for _ in range(warmup):
    yield Block('target_model', model_updates)
  yield from _target(rounds * target_blocks, target_steps)
  yield Block('evaluate_final')


def finetune(
    prefill, source_pretrain, warmup, rounds, target_blocks, source_blocks,
    source_steps, target_steps, sequences=0, **_):
  """Yields the blocks of an agent that goes from simulator to dataset.

  As many frames of the source and blocks of the target as in CoWorld.

  Args:
    sequences: source sequences of the Fisher information.
  """
  yield Block('evaluate_random')
  yield Block('prefill', prefill, 0)
  blocks = source_pretrain + warmup + source_blocks * max(rounds - 1, 0)
  yield from _source('source', blocks, source_steps, 0)
  yield Block('hand_over', sequences)
  yield from _target(rounds * target_blocks, target_steps)
  yield Block('evaluate_final')


def total(blocks, phase):
  """Sums the amounts of all blocks of a phase."""
  return sum(block.amount for block in blocks if block.phase == phase)


def _source(phase, blocks, frames, index=None):
  for _ in range(blocks):
    yield Block('evaluate_source', 0, index)
    yield Block(phase, frames, index)


def _target(blocks, frames):
  for _ in range(blocks):
    yield Block('evaluate_target')
    yield Block('target', frames)
