"""In 16 bits, every component gives what it does in float32, but rounded."""

import functools

import numpy as np
import pytest

from tests.parity import agents, cases, here, report

# Largest relative error of one rounding.
UNIT = {'bfloat16': 2.0 ** -8, '16': 2.0 ** -11}
# How many roundings the bounds allow for, relative to the largest entry of
# each tensor. The longest paths through a component make more of them, forward
# and back, but their signs differ. A train step goes through two components in
# a row, model and behavior.
ROUNDINGS = {'train': 64}
USUAL = 32
# Over several updates, Adam makes whole steps of the rounding of small
# gradients; test_modes.py compares the losses of these.
CASES = [case for case in agents.CASES if case is not agents.ten_updates]
# What float16 needs a loss scale for, which only the train step has: gradients
# of means, that are too small for it.
UNSCALED = {'16': 'behavior'}
# Where rounding flips a draw of a discrete state, so that other states follow.
FLIPPED = {('imagine', 'images, discrete state', 'bfloat16')}
# Loss scales at which nothing over- or underflows, of models with and without
# images, whose loss is a sum over pixels.
SCALE, IMAGE_SCALE = 2.0 ** 7, 1.0


@pytest.fixture(scope='module')
def outputs():
  """Outputs of all cases of an agent, computed once for each precision."""
  @functools.cache
  def run(name, precision):
    with here.fixed_noise():
      agent = cases.build(here, name, precision=precision)
      if precision == '16':
        images = 'image' in agent.obs_space
        agent.wm.opt.scale.assign(IMAGE_SCALE if images else SCALE)
        agent.ac.actor_opt.scale.assign(SCALE)
        agent.ac.critic_opt.scale.assign(SCALE)
      return {
          f'{case.__name__}/{name}/{key}': np.asarray(array, np.float32)
          for case in CASES for key, array in case(agent).items()}
  return run


@pytest.mark.parametrize('precision', UNIT)
@pytest.mark.parametrize('agent', cases.AGENTS)
def test_every_component_is_right_but_for_rounding(outputs, agent, precision):
  rows = report.compare(outputs(agent, precision), outputs(agent, '32'))
  assert {case for case, _ in rows} == {case.__name__ for case in CASES}
  for (case, _), row in rows.items():
    if case == UNSCALED.get(precision):
      del row['gradient']
    bound = ROUNDINGS.get(case, USUAL) * UNIT[precision]
    if (case, agent, precision) in FLIPPED:
      bound = 2
    assert max(row.values()) < bound, (case, row)
  # Otherwise these would be no others.
  assert min(rows['observe', agent].values()) > UNIT[precision] / 4
