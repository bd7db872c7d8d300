"""Algorithm 1 of the paper: the order and the amounts of all phases.

The paper calls the amounts K1 and K2, but swaps them between its text and its
table; here they have names. A frame is one simulator step. Target updates are
counted by the frames they stand for: one update per `train_every` agent steps
of `action_repeat` frames. The target is never trained in a simulator.
"""


def algorithm_1(
    prefill, source_pretrain, warmup, rounds, target_blocks, source_blocks,
    source_steps, target_steps, model_updates, target=True):
  """Yields (phase, amount) in order.

  Phases and the units of their amounts:

      evaluate_random           at the start, if there is a target
      prefill                   frames of random actions in the source
      evaluate_source           before each source block
      source, source_aligned    frames, without and with stage B
      target_model              updates of the world model; stage A
      evaluate_target           before each target block
      target                    frames; stages A and C
      evaluate_final            of the target, or of the source if alone

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
    target: whether there is a target; if not, the source trains alone, and
      warmup and rounds do not count.
  """
  def source(phase, blocks):
    for _ in range(blocks):
      yield 'evaluate_source', 0
      yield phase, source_steps

  if target:
    yield 'evaluate_random', 0
  else:
    warmup = rounds = 0
  yield 'prefill', prefill
  yield from source('source', source_pretrain)
  for _ in range(warmup):
    yield 'target_model', model_updates
    yield from source('source_aligned', 1)
  for index in range(rounds):
    for _ in range(target_blocks):
      yield 'evaluate_target', 0
      yield 'target', target_steps
    if index < rounds - 1:
      yield from source('source_aligned', source_blocks)
  yield 'evaluate_final', 0


def total(blocks, phase):
  """Sums the amounts of all blocks of a phase."""
  return sum(amount for name, amount in blocks if name == phase)
