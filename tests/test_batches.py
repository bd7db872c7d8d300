"""Batches of data that vanish."""

import pathlib
import shutil

import numpy as np
import pytest

from coworld_tf import batches, cli, shares
from coworld_tf.datasets import collect
from dreamerv2_base import flags, replay

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.mark.parametrize('harm', ['vanished', 'short'])
def test_files_that_go_are_told_in_one_line(tmp_path, harm):
  data = tmp_path / 'data'
  assert collect.main([
      '--task', 'dummy_2', '--steps', '50', '--time_limit', '25',
      '--quality', 'fast', '--out', str(data)]) == 0
  config = flags.parse(['--configs', 'debug'], ROOT / 'configs')
  drawn = batches.Batches(config, shares.Shares())(
      replay.Replay(data), 0, 0, 1)
  assert next(drawn)['image'].shape[:2] == (4, 8)
  shard = data / 'shard-00000'
  if harm == 'vanished':
    shutil.rmtree(shard)
  else:
    (shard / 'image.bin').write_bytes(b'')
  with pytest.raises(cli.Fault, match='cannot be read: .*image.bin') as caught:
    next(drawn)
  assert '\n' not in str(caught.value)


def test_other_errors_are_raised_as_they_are(tmp_path):
  data = replay.Replay(tmp_path, writable=True)
  data.append({
      'image': np.zeros([30, 8, 8, 3], np.uint8),
      'action': np.zeros([30, 2], np.float32),
      'reward': np.zeros(30, np.float32),
      'is_first': np.arange(30) == 0, 'is_last': np.zeros(30, bool),
      'is_terminal': np.zeros(30, bool)})
  config = flags.parse(['--configs', 'debug'], ROOT / 'configs')
  calls = []
  def beside(*_):
    calls.append(1)
    if len(calls) > 2:
      raise KeyError('lost')
    return {}
  drawn = batches.Batches(config, shares.Shares())(
      data, 0, 0, 1, beside=beside)
  next(drawn)
  with pytest.raises(KeyError, match='lost'):
    next(drawn)
