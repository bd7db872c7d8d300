"""A run that was killed ends with the bytes of one that was not."""

import json
import multiprocessing
import random
import time

import numpy as np
import pytest
import tensorflow as tf

import train
from coworld_tf import checkpoints
from coworld_tf.datasets import collect
from dreamerv2_base import store

# Each kind of block at least once, in as few updates as possible. Lines of
# metrics are means over several, and blocks are no multiples of episodes.
FLAGS = (
    '--configs {method} debug --task dummy_2 --source_task dummy_3 '
    '--target_task dummy_2 --dataset.length 3 --dataset.batch 2 '
    '--imag_horizon 2 --time_limit 7 --log_every 4 --schedule.prefill 20 '
    '--schedule.source_steps 20 --schedule.target_steps 15 '
    '--schedule.source_pretrain 2 --schedule.model_updates 3 '
    '--ewc.sequences 3 --rssm.ensemble 2 --evaluation.envs 1 '
    '--evaluation.final_episodes 1')
# Changes with every start of a process.
CLOCKS = 'seconds', 'time'


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'dummy'
  assert collect.main([
      '--task', 'dummy_2', '--steps', '40', '--time_limit', '7',
      '--quality', 'fast', '--out', str(path)]) == 0
  return path


@pytest.fixture(scope='module')
def start():
  """Starts train.py in processes that have loaded TensorFlow already."""
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(['train', 'coworld_tf.methods'])
  def start(argv):
    process = context.Process(target=train.main, args=[argv])
    process.start()
    return process
  return start


def arguments(method, dataset, logdir, *argv):
  flags = FLAGS.format(method=method).split()
  return [*flags, '--offline_dir', str(dataset), '--logdir', str(logdir),
          *argv]


def lines(path):
  """Records of a log without what a clock tells."""
  found = [json.loads(line) for line in path.read_text().splitlines()]
  return [
      {key: value for key, value in record.items() if key not in CLOCKS}
      for record in found]


def variables(path):
  reader = tf.train.load_checkpoint(str(path / checkpoints.VARIABLES))
  return {
      key: reader.get_tensor(key)
      for key in reader.get_variable_to_shape_map()
      if 'CHECKPOINTABLE' not in key}


def assert_same_run(one, other):
  for name in ('metrics.jsonl', 'evaluations.jsonl'):
    assert lines(one / name) == lines(other / name)
  last = [checkpoints.pick(path, 'last') for path in (one, other)]
  first, second = map(variables, last)
  assert len(first) > 100 and set(first) == set(second)
  for key, value in first.items():
    np.testing.assert_array_equal(value, second[key], key, strict=True)
  first, second = map(checkpoints.read, last)
  for key in ('position', 'replays', 'logs'):
    first[key].pop('seconds', None), second[key].pop('seconds', None)
  assert first['position'] == second['position']
  assert first['replays'] == second['replays']
  for name in first['replays']:
    stores = [path / f'{name}_episodes' for path in (one, other)]
    first, second = [x.joinpath(store.INDEX).read_bytes() for x in stores]
    assert first == second  # With the checksums of all rows.
    for directory in stores:
      data = store.Store(directory)
      assert not any(map(data.verify, data.episodes))


@pytest.mark.parametrize('method', ['coworld', 'dreamerv2', 'offline_dv2'])
def test_killed_at_any_moment(method, dataset, tmp_path, start):
  begin = time.time()
  process = start(arguments(method, dataset, tmp_path / 'whole'))
  process.join()
  assert process.exitcode == 0
  seconds = time.time() - begin
  # With other moments of saving, which must not matter either.
  argv = arguments(
      method, dataset, tmp_path / 'killed', '--checkpoint_every', '0')
  rng, kills = random.Random(), 0
  print('whole', seconds)
  while True:
    process = start(argv)
    process.join(seconds * rng.uniform(0.3, 0.7))
    if process.exitcode is not None:
      break
    process.kill()
    process.join()
    kills += 1
    names = sorted(p.name for p in (tmp_path / 'killed').glob('checkpoints/*'))
    print('killed', names, time.time() - begin)
  assert process.exitcode == 0 and kills > 0
  assert_same_run(tmp_path / 'whole', tmp_path / 'killed')
