"""A run that was killed ends with the bytes of one that was not."""

import json
import os
import random
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import checkpoints
from coworld_tf.datasets import collect
from dreamerv2_base import store
from tests import training

# Each kind of block in as few updates as possible. Lines of metrics are means
# over several, and blocks are no multiples of episodes. Two updates draw more
# frames than the dataset has, so that embeddings are kept.
FLAGS = (
    '--configs {} debug --task dummy_2 --source_task dummy_3 --target_task '
    'dummy_2 --dataset.length 3 --dataset.batch 9 --imag_horizon 2 '
    '--time_limit 7 --log_every 3 --train_every 4 --schedule.prefill 14 '
    '--schedule.target_steps 8 --schedule.model_updates 2 --rssm.ensemble 2 '
    '--evaluation.envs 1 --evaluation.final_episodes 1')
# Further flags, seconds between checkpoints, how it ends before its time.
CASES = {
    'coworld': (
        '--schedule.source_steps 10 --overlap all', 0,
        [signal.SIGKILL, signal.SIGTERM]),
    'dreamerv2': (
        # In graphs, as evaluations and acting are beside updates only there.
        '--schedule.source_pretrain 2 --schedule.source_steps 18 --overlap '
        'all --compile graph', 1000,
        [signal.SIGKILL]),
    'offline_dv2': ('', 0, [signal.SIGTERM])}
# Changes with every start of a process.
CLOCKS = 'seconds', 'time', 'evaluation_seconds'


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'dummy'
  assert collect.main([
      '--task', 'dummy_2', '--steps', '40', '--time_limit', '7',
      '--quality', 'fast', '--out', str(path)]) == 0
  return path


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
    folder = name.replace('source', 'source_episodes')
    stores = [path / folder for path in (one, other)]
    first, second = [x.joinpath(store.INDEX).read_bytes() for x in stores]
    assert first == second  # With the checksums of all rows.
    for directory in stores:
      data = store.Store(directory)
      assert not any(map(data.verify, data.episodes))


@pytest.mark.parametrize('method', CASES)
def test_ended_at_any_moment(method, dataset, tmp_path):
  flags, every, signals = CASES[method]
  argv = [*FLAGS.format(method).split(), *flags.split(), '--offline_dir',
          dataset]
  whole, ended = tmp_path / 'whole', tmp_path / 'ended'
  process = training.start([
      *argv, '--logdir', whole, '--align.cache', 0])
  process.join()
  assert process.exitcode == 0
  # With other moments of saving and embeddings of the source that are kept,
  # which must not matter either.
  argv += ['--logdir', ended, '--checkpoint_every', every]
  for number in signals:
    process = training.start(argv)
    wait(whole, ended, every)
    os.kill(process.pid, number)
    process.join()
    killed = number == signal.SIGKILL
    assert process.exitcode == (-number if killed else 128 + number)
  process = training.start(argv)
  process.join()
  assert process.exitcode == 0
  assert_same_run(whole, ended)


def wait(whole, ended, every):
  """Returns at a random moment, or where most is left without checkpoint."""
  if every:
    # Two of random actions, three of the first block, two of the second.
    wait_for(1 + 2 + 3 + 2, ended / 'source_episodes' / store.INDEX)
    return
  lines = (whole / 'metrics.jsonl').read_bytes().count(b'\n')
  wait_for(random.randrange(1, lines - 1), ended / 'metrics.jsonl')
  time.sleep(random.uniform(0, 0.5))


def wait_for(lines, path):
  deadline = time.time() + 200
  while not path.exists() or path.read_bytes().count(b'\n') < lines:
    assert time.time() < deadline
    time.sleep(0.02)
