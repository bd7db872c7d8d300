"""Numbers that are not finite: every learner stays as it was."""

import json
import logging
import types

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import cli, faults, pair, sources
from coworld_tf.baselines import alone, dv2_finetune, ewc, offline_dv2
from dreamerv2_base import agent

VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


@pytest.fixture(scope='module')
def make(make_config):
  """Builds a learner by its name."""
  def build(name, override=None):
    config = make_config({'rssm.ensemble': 2, **(override or {})})
    new = lambda seed: agent.Agent(config, VECTOR, BOX, seed)
    match name:
      case 'pair':
        return pair.CoWorldPair(config, new(1), new(2), 10)
      case 'sources':
        return sources.MultiSource(config, [new(1), new(2)], new(3), 10)
      case 'offline_dv2':
        return offline_dv2.OfflineDV2(config, new(1))
      case 'finetune':
        return dv2_finetune.Finetune(config, new(1), new(2))
      case 'ewc':
        return ewc.FinetuneEWC(config, new(1), new(2))
    return alone.Offline(new(1))
  return build


@pytest.fixture(scope='module')
def batch(make_batch):
  def build(seed=0, size=2, **changes):
    data = make_batch(seed=seed, batch=size)
    for key, value in changes.items():
      data[key][0, 1] = value
    return {key: tf.constant(x) for key, x in data.items()}
  return build


@pytest.fixture
def make_guard(tmp_path):
  def build(learner, on_nan='stop'):
    return faults.Guard(
        types.SimpleNamespace(on_nan=on_nan), tmp_path, learner)
  return build


def values(module):
  return [x.numpy() for x in module.variables]


def differing(module, before):
  """Variables whose values are others than before."""
  return [
      x for x, old in zip(module.variables, before, strict=True)
      if not np.array_equal(x, old, equal_nan=True)]


def poisoned(variable, train, *batches):
  """Makes an update with one NaN in a variable, which is mended again."""
  value = variable.numpy()
  wrong = value.copy()
  wrong.flat[-1] = np.nan
  variable.assign(wrong)
  metrics = train(*batches)
  assert np.array_equal(variable, wrong, equal_nan=True)
  variable.assign(value)
  return metrics


@pytest.mark.parametrize('override', [
    {'compile': 'eager'}, {'compile': 'graph'}, {'compile': 'xla'},
    {'compile': 'graph', 'precision': '16'}], ids=lambda x: '-'.join(
        x.values()))
def test_nothing_of_a_faulty_update_is_applied(make, batch, override):
  target, healthy = make('alone', override).target, batch()
  assert not target.train(healthy)['skipped']
  before = values(target)
  ac, wm = target.ac, target.wm
  for index, variable in enumerate([
      wm.heads['reward'].out.mean.kernel, ac.actor.variables[0],
      ac.critic.variables[0], ac.slow_critic.variables[-1],
      wm.opt.first[0], ac.critic_opt.second[-1]], 1):
    metrics = poisoned(variable, target.train, healthy)
    assert metrics['skipped'] == 1
    assert differing(target, before) == [target.updates]
    assert int(target.updates) == 1 + index
  for changes in ({'reward': np.nan}, {'action': np.inf}, {'vector': 3e38}):
    assert target.train(batch(**changes))['skipped'] == 1
    assert differing(target, before) == [target.updates]
  assert not target.train(healthy)['skipped']
  assert len(differing(target, before)) > len(before) / 2


@pytest.mark.parametrize('name', ['model', 'actor', 'critic'])
def test_exploding_rate_leaves_finite_variables(make, batch, name):
  learner = make('alone', {'compile': 'graph', f'{name}_opt.lr': 3e38})
  skipped = []
  for index in range(6):
    skipped.append(float(learner.target.train(batch(index))['skipped']))
    assert all(np.isfinite(x).all() for x in values(learner))
  assert skipped[-1] == 1


def test_overflow_under_a_loss_scale_is_no_fault(make, batch):
  learner = make('alone', {'compile': 'graph', 'precision': '16'})
  opt = learner.target.wm.opt
  opt.scale.assign(2.0 ** 60)
  before, critic = values(opt), learner.target.ac.critic_opt
  metrics = learner.target.train(batch())
  assert not np.isfinite(metrics['model_grad_norm'])
  assert metrics['skipped'] == 0
  assert {x.ref() for x in differing(opt, before)} == {opt.scale.ref()}
  assert float(opt.scale) == 2.0 ** 59
  assert int(critic.count) == 1


# Learner, its update, number of batches, who learns, where the NaN is.
CASES = [
    ('pair', 'train_source_aligned', 2, 'source', 'source.ac.critic'),
    ('pair', 'train_target_model', 1, 'target', 'source.wm.encoder'),
    ('pair', 'train_target', 1, 'target', 'source.ac.critic'),
    ('sources', 'train_target', 1, 'target', 'target.ac.actor'),
    ('offline_dv2', 'train_target_model', 1, 'target', 'target.wm.rssm'),
    ('offline_dv2', 'train_target', 1, 'target', 'target.ac.critic'),
    ('finetune', 'train_target', 1, 'target', 'target.ac.critic'),
    ('ewc', 'train_target', 1, 'target', 'source.ac.actor')]


@pytest.mark.parametrize('name, step, count, domain, place', CASES)
def test_every_learner_is_left_as_it_was(
    make, batch, name, step, count, domain, place):
  learner = make(name)
  module = learner
  for part in place.split('.'):
    module = getattr(module, part)
  before = values(learner)
  metrics = poisoned(
      module.trainable_variables[0], getattr(learner, step),
      *map(batch, range(count)))
  assert metrics['skipped'] == 1
  assert {x.ref() for x in differing(learner, before)} == {
      getattr(learner, domain).updates.ref()}


def test_fisher_information_stays_finite(make, batch):
  learner = make('ewc', {'compile': 'graph'})
  before = values(learner)
  assert learner.consolidate(batch(size=1, reward=3e38))['skipped'] == 1
  assert not differing(learner, before)
  assert learner.consolidate(batch(size=1))['skipped'] == 0
  assert int(learner.count) == 1


def test_last_distances_stay_finite(make, batch):
  learner = make('sources')
  bias = learner.sources[1].wm.encoder.variables[0]
  bias.assign(np.full(bias.shape, np.nan))
  assert np.isnan(learner.select([batch()])['distance_1'])
  assert int(learner.selected) == 0
  assert np.isfinite(learner.last_distances).all()


@pytest.mark.parametrize('key', ['reward', 'action', 'vector'])
def test_data_are_named_and_kept(make, batch, make_guard, tmp_path, key):
  learner = make('pair')
  guard, before = make_guard(learner), values(learner)
  wrong = batch(**{key: -np.inf})
  with pytest.raises(cli.Fault) as caught:
    guard('source', learner.source, learner.train_source_aligned, batch(),
          wrong)
  path = tmp_path / 'faults' / 'source-1.json'
  assert str(caught.value) == (
      f'not finite at source-1: batch_2: {key}; see {path}; repair the data, '
      'or go on without such updates by --on_nan skip')
  assert json.loads(path.read_text()) == {'batch_2': [key]}
  with np.load(path.with_suffix('.npz'), allow_pickle=False) as data:
    assert len(data.files) == 2 * len(wrong)
    for name, value in wrong.items():
      np.testing.assert_array_equal(data[f'batch_2.{name}'], value)
  assert differing(learner, before) == [learner.source.updates]


def test_bfloat16_is_looked_at_and_kept_as_plain_numbers(
    make, batch, make_guard, tmp_path):
  learner = make('pair')
  wrong = {**batch(), 'other': tf.constant([1.5, np.nan], tf.bfloat16)}
  with pytest.raises(cli.Fault, match='batch: other;'):
    make_guard(learner)('x', learner.target, learner.train_target, wrong)
  with np.load(tmp_path / 'faults' / 'x-1.npz', allow_pickle=False) as data:
    np.testing.assert_array_equal(
        data['batch.other'], np.array([1.5, np.nan], 'f4'), strict=True)


def test_unused_data_are_looked_at(make, batch, make_guard):
  # Offline DV2 trains its policy without the rewards of the data.
  learner = make('offline_dv2')
  with pytest.raises(cli.Fault, match='batch: reward;'):
    make_guard(learner)(
        'target', learner.target, learner.train_target, batch(reward=np.nan))


def test_gradients_and_variables_are_named(make, batch, make_guard, tmp_path):
  learner = make('pair', {'compile': 'graph'})
  guard = make_guard(learner, 'skip')
  bias = learner.source.wm.encoder.variables[0]
  bias.assign(np.full(bias.shape, np.nan))
  with pytest.raises(cli.Fault, match='older checkpoint'):
    guard('target', learner.target, learner.train_target, batch())
  found = json.loads((tmp_path / 'faults' / 'target-1.json').read_text())
  (name,) = found['variables']
  assert name.startswith('source.wm.encoder.')
  assert {'model_loss', 'align_loss', 'model_grad_norm'} <= set(
      found['metrics'])
  assert 'target.wm.encoder.mlp.layers.0.kernel' in found['gradients']
  assert not any(x.startswith('target.ac.') for x in found['variables'])
  with pytest.raises(cli.Fault, match=f'not finite at start: .*{name}'):
    make_guard(learner, 'skip')


def test_skipping_goes_on_and_keeps_a_few(
    make, batch, make_guard, tmp_path, caplog):
  learner = make('alone', {'compile': 'graph'})
  guard = make_guard(learner, 'skip')
  train = lambda data: guard(
      'target', learner.target, learner.target.train, data)
  count = faults.LIMIT + 5
  with caplog.at_level(logging.WARNING):
    for _ in range(count):
      assert train(batch(vector=3e38)) == {'skipped': 1.0}
  assert len(list((tmp_path / 'faults').glob('*.json'))) == faults.LIMIT
  assert len(list((tmp_path / 'faults').glob('*.npz'))) == faults.LIMIT
  assert len(caplog.records) == faults.LIMIT
  assert int(learner.target.updates) == count
  metrics = train(batch())
  assert metrics['skipped'] == 0 and np.isfinite(metrics['model_loss'])
