"""Embeddings of a source at rest: right, renewed in time, within bounds."""

import errno
import mmap
import os
import pathlib
import re
import resource

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import batches, cli, embeddings, pair, shares, sources
from dreamerv2_base import agent, replay
from dreamerv2_base import precision as precisions

IMAGE = {'image': gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)}
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
ROWS = 14, 9, 20  # No multiple of a batch.
ENOUGH = 2  # Updates of 4 x 8 frames each.


@pytest.fixture
def data(tmp_path):
  rng = np.random.default_rng(0)
  (tmp_path / 'data').mkdir()
  found = replay.Replay(tmp_path / 'data', writable=True)
  for rows in ROWS:
    index = np.arange(rows)
    found.append({
        'image': rng.integers(0, 256, (rows, 64, 64, 3), np.uint8),
        'action': rng.uniform(-1, 1, (rows, 2)).astype('f4'),
        'reward': rng.normal(size=rows).astype('f4'),
        'is_first': index == 0, 'is_last': index == rows - 1,
        'is_terminal': np.zeros(rows, bool)})
  return found


@pytest.fixture(scope='module')
def make(make_config):
  """Builds a configuration and a learner with one source or more."""
  def build(override=None, count=1):
    method = 'coworld' if count == 1 else 'multi_source'
    config = make_config({'method': method, **(override or {})}, {})
    target, *agents = [
        agent.Agent(config, IMAGE, BOX, seed) for seed in range(count + 1)]
    if count == 1:
      return config, pair.CoWorldPair(config, *agents, target, 10)
    return config, sources.MultiSource(config, agents, target, 10)
  return build


@pytest.fixture
def make_cache(data, tmp_path):
  def build(config, learner):
    (tmp_path / 'run').mkdir(exist_ok=True)
    return embeddings.Embeddings(config, learner, data, tmp_path / 'run')
  return build


def expected(source, batch):
  """Embeddings as the update computes them."""
  embed = agent.compiled(
      lambda obs: source.wm.encoder(source.wm.preprocess(obs)),
      source.config.compile)
  return embed({key: tf.constant(x) for key, x in batch.items()})


def check(data, beside, source):
  """What is added to a batch is what the source's encoder makes of it."""
  batch = data.sample(4, 8, np.random.default_rng(3), beside)
  found = batch.pop('peer_embed')
  np.testing.assert_array_equal(found, expected(source, batch), strict=True)


@pytest.mark.parametrize('compiled', ['eager', 'graph'])
@pytest.mark.parametrize('precision', ['32', 'bfloat16', '16'])
def test_embeddings_are_those_of_the_update(
    make, make_cache, data, precision, compiled):
  config, couple = make({'precision': precision, 'compile': compiled})
  check(data, make_cache(config, couple).prepare(ENOUGH, 'x'), couple.source)
  if compiled == 'graph':
    assert couple.embed.experimental_get_tracing_count() == 1


@pytest.mark.parametrize('step, override', [
    ('train_target_model', {}), ('train_target', {}),
    ('train_target', {'precision': 'bfloat16'})])
def test_updates_are_equal_with_and_without(
    make, make_cache, data, step, override):
  results = []
  for kind in ('cached', 'computed', 'wrong'):
    config, couple = make({**override, 'model_opt.clip': 0})
    beside = make_cache(config, couple).prepare(ENOUGH, 'x')
    batch = data.sample(4, 8, np.random.default_rng(1), beside)
    if kind == 'computed':
      del batch['peer_embed']
    elif kind == 'wrong':
      batch['peer_embed'] = batch['peer_embed'][::-1]
    batch = {key: tf.constant(x) for key, x in batch.items()}
    metrics = getattr(couple, step)(batch)
    results.append([
        *(x.numpy() for x in couple.target.variables),
        metrics['align_kl'].numpy(), metrics['model_grad_norm'].numpy()])
  cached, computed, wrong = results
  for one, other in zip(cached, computed, strict=True):
    np.testing.assert_array_equal(one, other)
  assert cached[-2] != wrong[-2] and cached[-1] != wrong[-1]


def test_source_that_changes_is_embedded_anew(make, make_cache, data):
  config, couple = make()
  cache, source = make_cache(config, couple), couple.source
  beside = cache.prepare(ENOUGH, 'x')
  batch = data.sample(4, 8, np.random.default_rng(0), beside)
  before = batch['peer_embed']
  for var in source.wm.encoder.variables:
    var.assign_add(0.1 * tf.ones_like(var))
  # Nothing else than updates changes it, so these tell.
  again = data.sample(
      4, 8, np.random.default_rng(0), cache.prepare(ENOUGH, 'x'))
  np.testing.assert_array_equal(again['peer_embed'], before)
  couple.target.updates.assign_add(1)
  again = data.sample(
      4, 8, np.random.default_rng(0), cache.prepare(ENOUGH, 'x'))
  np.testing.assert_array_equal(again['peer_embed'], before)
  source.updates.assign_add(1)
  check(data, cache.prepare(ENOUGH, 'x'), source)


def test_embeddings_are_of_the_selected_source(make, make_cache, data):
  config, learner = make({'multi_source.candidates': ['a', 'b']}, 2)
  cache = make_cache(config, learner)
  for index in (1, 0, 1):
    learner.selected.assign(index)
    check(data, cache.prepare(ENOUGH, 'x'), learner.sources[index])


@pytest.mark.parametrize('override', [
    {'coworld.beta2': 0}, {'align.cache': 0}, {'method': 'dreamerv2_offline'},
    {'method': 'multi_source', 'multi_source.reselect': 'step',
     'multi_source.candidates': ['a', 'b']}], ids=lambda x: list(x)[-1])
def test_not_where_nothing_rests_or_reads(make, make_cache, override):
  config, couple = make(override)
  assert make_cache(config, couple).prepare(10 ** 6, 'x') is None


@pytest.mark.parametrize('updates, pays', [(0, 0), (1, 0), (2, 1)])
def test_only_where_a_block_draws_as_many_frames(
    make, make_cache, data, updates, pays):
  assert 32 < data.rows < 64
  beside = make_cache(*make()).prepare(updates, 'x')
  assert bool(beside) == bool(pays)


@pytest.mark.parametrize('precision', ['32', 'bfloat16'])
def test_batches_continue_their_stream(make, make_cache, data, precision):
  config, couple = make({'precision': precision})
  beside = make_cache(config, couple).prepare(ENOUGH, 'x')
  draw = lambda start: batches.Batches(config, shares.Shares())(
      data, start, 2, 5, beside=beside)
  first, second = draw(0), draw(2)
  plain = batches.Batches(config, shares.Shares())(data, 0, 0, 5)
  for index in range(4):
    found, same = next(first), next(plain)
    embed = found.pop('peer_embed')
    assert embed.dtype == precisions.DTYPES[precision]
    np.testing.assert_array_equal(embed, expected(couple.source, same))
    assert set(found) == set(same)
    for key, value in same.items():
      np.testing.assert_array_equal(found[key], value)
    if index >= 2:
      np.testing.assert_array_equal(next(second)['peer_embed'], embed)


def test_data_that_cannot_be_read_leave_nothing_half_done(
    make, make_cache, data, tmp_path):
  config, couple = make()
  cache, path = make_cache(config, couple), (
      tmp_path / 'data' / 'shard-00000' / 'image.bin')
  cache.prepare(ENOUGH, 'x')
  old = couple.source.wm.encoder.variables[0].numpy()
  couple.source.updates.assign_add(1)
  couple.source.wm.encoder.variables[0].assign(old + 0.1)
  whole = path.read_bytes()
  os.truncate(path, len(whole) - 1)
  with pytest.raises(cli.Fault, match='cannot be read: .*image.bin: trunc'):
    cache.prepare(ENOUGH, 'x')
  path.write_bytes(whole)
  # Back at what was there before, of which the first rows are others now.
  couple.source.updates.assign_sub(1)
  couple.source.wm.encoder.variables[0].assign(old)
  check(data, cache.prepare(ENOUGH, 'x'), couple.source)


def test_large_embeddings_are_in_a_file_without_a_name(
    make, make_cache, data, tmp_path):
  # 43 rows of 7688 numbers are more than 1 MB.
  config, couple = make({
      'encoder.cnn_depth': 8, 'encoder.cnn_kernels': 4, 'align.cache': 1})
  cache = make_cache(config, couple)
  used = mapped()
  check(data, cache.prepare(ENOUGH, 'x'), couple.source)
  assert 0 <= mapped() - used - 43 * 7688 * 4 < mmap.PAGESIZE
  assert not any((tmp_path / 'run').iterdir())
  del cache
  assert mapped() == used


def mapped():
  """Bytes of files that are mapped into memory though they have no name."""
  lines = pathlib.Path('/proc/self/maps').read_text().splitlines()
  ends = [line.split()[0].split('-') for line in lines
          if 'rw-s' in line and line.endswith('(deleted)')]
  return sum(int(end, 16) - int(start, 16) for start, end in ends)


def test_memory_is_bounded(tmp_path):
  def anonymous():
    status = pathlib.Path('/proc/self/status').read_text()
    return int(re.search(r'RssAnon:\s+(\d+)', status)[1]) * 1024
  size, before = 2 ** 26, anonymous()
  array = embeddings.allocate((2 ** 14, 2 ** 10), 'f4', size - 1, tmp_path)
  array[:] = 1
  assert anonymous() - before < size / 4
  array = embeddings.allocate((2 ** 14, 2 ** 10), 'f4', size, tmp_path)
  array[:] = 1
  assert anonymous() - before > size * 3 / 4


def test_file_without_room_is_told_at_once(tmp_path):
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
  try:
    with pytest.raises(OSError) as caught:
      embeddings.allocate((10, 26), 'f4', 0, tmp_path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert caught.value.errno == errno.EFBIG
  assert caught.value.filename == str(tmp_path)
  assert not any(tmp_path.iterdir())
