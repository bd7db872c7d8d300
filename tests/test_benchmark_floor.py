"""The operations of an update are counted correctly."""

import numpy as np
import pytest

from benchmarks import floor
from benchmarks.train_step import __main__ as train_step
from benchmarks.train_step import contender
from dreamerv2_base import flags

# One embedding pixel, a GRU of 3, two classes and a horizon of 2.
HAND = (
    '--configs debug --dataset.batch 1 --dataset.length 1 --imag_horizon 2 '
    '--encoder.cnn_depth 1 --encoder.cnn_kernels 32 16 --size 64 '
    '--decoder.cnn_depth 1 --decoder.cnn_kernels 5 54 --rssm.deter 3 '
    '--rssm.hidden 5 --rssm.stoch 1 --rssm.discrete 2 '
    '--reward_head.layers 1 --reward_head.units 7 --actor.layers 2 '
    '--actor.units 7 --critic.layers 1 --critic.units 7')


def counts(forward, inputs, weights):
  return {'forward': forward, 'inputs': inputs, 'weights': weights}


def test_operations_are_those_counted_by_hand():
  # Images of 64, 17 and 1 pixels; an embedding of 2; features of 2 + 3.
  convs = 17 ** 2 * 32 ** 2 * 3, 16 ** 2 * 2
  images = 5 * 32 + 25 * 32 * 1 + 5 ** 2 * 54 ** 2 * 1 * 3
  predict = (2 + 6) * 5 + (5 + 3) * 9 + 3 * 5 + 5 * 2
  value, first = 5 * 7 + 7, 5 * 7
  policy = first + 7 * 7 + 7 * 12
  found = floor.operations(
      flags.parse(HAND.split(), contender.CONFIGS), 6)
  filtering = predict + (3 + 2) * 5 + 5 * 2
  assert found == {
      'encoder': counts(2 * sum(convs), 2 * convs[1], 2 * sum(convs)),
      'observe': counts(*[2 * filtering] * 3),
      'decoder': counts(*[2 * images] * 3),
      'reward': counts(*[2 * value] * 3),
      'imagine': counts(4 * predict, 4 * predict, 0),
      'actor': counts(4 * policy, 4 * (policy - first), 4 * policy),
      # Two rewards and two values, one of each with a gradient.
      'returns': counts(8 * value, 4 * value, 0),
      'critic': counts(4 * value, 4 * 7, 4 * value)}
  assert floor.total({'a': counts(1, 2, 3), 'b': counts(4, 5, 6)}) == 21


def test_operations_follow_the_layers_of_an_agent():
  # Every kernel of the agent is counted once per row, at the least.
  size = ['--configs', 'small', '--pred_discount', 'True']
  config = flags.parse(size, contender.CONFIGS)
  learner, = contender.make_agents(config, 1)
  rssm, rows = learner.wm.rssm, 2 * 8 * 16
  kernels = lambda *modules: sum(
      int(np.prod(x.shape)) for module in modules
      for x in module.trainable_variables if x.name.startswith('kernel'))
  found = floor.operations(config, 6)
  steps = rows * config.imag_horizon
  assert found['observe']['forward'] == rows * kernels(rssm)
  assert found['imagine']['forward'] == steps * (
      kernels(rssm) - kernels(rssm.obs_out, rssm.obs_dist))
  assert found['actor']['weights'] == steps * kernels(learner.ac.actor)
  heads = learner.wm.heads
  assert found['discount']['weights'] == rows * kernels(heads['discount'])
  behind = kernels(heads['reward'], learner.ac.slow_critic)
  assert found['returns']['forward'] == steps * behind
  assert found['returns']['inputs'] == (steps - rows) * behind
  assert found['imagined discount'] == counts(*[
      (steps - rows) * kernels(heads['discount'])] * 2, 0)
  decoder = heads['decoder']
  assert floor.embedding(config) == learner.wm.encoder.size
  sizes = [1, 1, 5, 13, 30]  # Of the inputs of the decoder's layers.
  assert found['decoder']['forward'] == rows * sum(
      width ** 2 * kernels(layer) for width, layer in zip(
          sizes, [decoder.dense, *decoder.deconvs], strict=True))
  assert found['encoder']['forward'] == rows * sum(
      width ** 2 * kernels(layer) for width, layer in zip(
          [31, 14, 6, 2], learner.wm.encoder.convs, strict=True))


@pytest.mark.parametrize('name, billions', [
    ('small', 12), ('dmc_vision', 657), ('paper', 2684)])
def test_sizes_need_so_many_operations(name, billions):
  config = flags.parse(train_step.SIZES[name].split(), contender.CONFIGS)
  assert floor.total(floor.operations(config, 6)) // 10 ** 9 == billions


def test_the_floor_is_in_proportion(monkeypatch):
  monkeypatch.setattr(floor, 'SIZES', (100, 200))
  monkeypatch.setattr(floor, 'ENOUGH', 5 * 10 ** 6)
  config = flags.parse(['--configs', 'debug'], contender.CONFIGS)
  _, _, share = contender.products(config, None, 1)['update']
  counts = 6 * 10 ** 6, 16 * 10 ** 6  # Three products, or one.
  needed = floor.total(floor.operations(config, 6))
  assert share in [needed / count for count in counts]
