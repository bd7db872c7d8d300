"""The official DreamerV2 and this one do the same arithmetic.

Where the official package is not installed, its stored outputs are compared.
"""

import importlib.util
import re

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import official
from dreamerv2_base import dists
from tests.parity import agents, cases, fixed, here, measure, parts, report

INSTALLED = importlib.util.find_spec(official.PACKAGE) is not None
needs_package = pytest.mark.skipif(
    not INSTALLED, reason='the official agent is not installed')
ROWS = [
    *((case.__name__, agent)
      for agent in cases.AGENTS for case in agents.CASES),
    *((case.__name__, '') for case in (*parts.CASES, parts.sampler))]


@pytest.fixture(scope='module')
def theirs():
  return report.run_official()


@pytest.fixture(scope='module')
def ours():
  return cases.run(here)


@pytest.fixture(scope='module')
def rows(ours, request):
  if INSTALLED:
    return report.compare(ours, request.getfixturevalue('theirs')['outputs'])
  return report.compare(report.thin(ours), report.stored())


@pytest.mark.parametrize('case, agent', ROWS)
def test_component_agrees(rows, case, agent):
  for kind, value in rows[case, agent].items():
    assert value <= report.bounds(case)[kind], kind


def test_every_case_is_tested(rows):
  assert set(rows) == set(ROWS)


@needs_package
def test_stored_outputs_are_those_of_the_package(theirs):
  fresh = report.compare(report.thin(theirs['outputs']), report.stored())
  for (case, agent), row in fresh.items():
    for kind, value in row.items():
      assert value <= report.bounds(case)[kind], (case, agent, kind)


def test_stored_outputs_agree(ours):
  rows = report.compare(report.thin(ours), report.stored())
  for (case, agent), row in rows.items():
    for kind, value in row.items():
      assert value <= report.bounds(case)[kind], (case, agent, kind)


@pytest.mark.parametrize('agent', cases.AGENTS)
def test_every_weight_is_compared(ours, agent):
  """All have a gradient in the train step, but for heads not drawn."""
  prefix = f'train/{agent}/gradient/'
  grads = {
      key.removeprefix(prefix): x for key, x in ours.items()
      if key.startswith(prefix)}
  drawn = fixed.head(cases.AGENTS[agent][2].get('rssm.ensemble', 1))
  other = re.compile(rf'rssm/img_\w+_[^{drawn}\D]/')
  heads = {key for key in grads if other.match(key)}
  assert {key for key, x in grads.items() if not np.any(x)} == heads
  prefix = f'img_step/{agent}/gradient/'
  assert all(np.any(ours[prefix + key]) for key in heads)


@needs_package
def test_weights_are_exchanged_by_name(theirs):
  """Each agent acts alike with the weights of the other, initial ones too."""
  weights = cases.weights(here)
  shapes = lambda arrays: {key: x.shape for key, x in arrays.items()}
  assert shapes(weights) == shapes(theirs['weights'])
  for name, values in ('own', theirs['weights']), ('given', weights):
    actions = cases.actions(here, values)
    assert set(actions) == set(theirs[name])
    for key, expected in theirs[name].items():
      np.testing.assert_allclose(
          actions[key], expected, 1e-5, 1e-6, err_msg=key)


def test_differences_are_found(ours):
  key = 'train/images, discrete state/gradient/rssm/img_in/kernel'
  changed = {**ours, key: ours[key] * 1.001}
  row = report.compare(ours, changed)['train', 'images, discrete state']
  assert row['gradient'] == pytest.approx(0.001, 0.01)
  with pytest.raises(ValueError, match='img_in/kernel'):
    report.compare(ours, {**ours, key: ours[key][1:]})
  with pytest.raises(ValueError, match='img_in/kernel: not finite'):
    report.compare({**ours, key: ours[key] * np.nan}, ours)
  with pytest.raises(ValueError, match='only one side'):
    report.compare(ours, {key: ours[key]})


def test_deviation_of_normal_heads():
  """Upstream's standard deviation is the raw output, ours is positive."""
  head = here.Head(6, (3,), dist='normal', min_std=0.2)
  x = measure.numbers('x', [4, 6])
  raw = x @ head.variables()['std/kernel'] + head.variables()['std/bias']
  assert np.any(raw < 0)
  np.testing.assert_allclose(
      head(x).stddev(), np.log1p(np.exp(raw)) + 0.2, 1e-5)


def test_deviation_of_the_tanh_mode():
  """Ours is at least as likely as any of its samples, in every dimension."""
  loc, scale = measure.numbers('loc', [4, 3]), np.full([4, 3], 0.5, 'f4')
  dist = dists.tanh_normal(loc, scale)
  with here.fixed_noise():
    best = dist.log_prob(dist.mode())
    samples = dist.log_prob(dist.sample(100, tf.constant([1, 2])))
  assert np.all(best >= tf.reduce_max(samples, 0) - 1e-4)


def test_documented_table_is_the_printed_one(rows):
  numbers = lambda text: re.sub(r'\d+e[+-]\d+', '#', text)
  page = (report.ROOT / 'docs' / 'parity.md').read_text()
  assert numbers(page).strip() == numbers(report.page(rows)).strip()
