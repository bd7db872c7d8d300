import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import action_adapter
from dreamerv2_base import replay


class Simulator:
  """Three actions between -2 and 3; remembers what it was given."""

  def __init__(self):
    self.obs_space = {'image': gymnasium.spaces.Box(0, 255, (4,), np.uint8)}
    self.act_space = {'action': gymnasium.spaces.Box(-2, 3, (3,), np.float32)}
    self.calls = []

  def reset(self, seed=None, blocking=True):
    self.calls.append(('reset', seed, blocking))
    return 'first'

  def step(self, action, blocking=True):
    self.calls.append(('step', action['action'].tolist(), blocking))
    return 'next'

  def close(self):
    self.calls.append('close')


@pytest.mark.parametrize('mode, source, target, size', [
    ('pad_max', 4, 5, 5), ('pad_max', 5, 4, 5), ('pad_max', 4, 4, 4),
    ('slice', 4, 5, 4), ('semantic', 4, 5, 4), ('zero', 6, 5, 6)])
def test_size_of_the_source_agent(mode, source, target, size):
  index = [0, 1, 2, 4]
  assert action_adapter.source_size(mode, source, target, index) == size


def test_space_of_the_source_agent():
  box = lambda size: gymnasium.spaces.Box(-1, 1, (size,), np.float32)
  choices = gymnasium.spaces.Discrete
  space = action_adapter.source_space('pad_max', box(2), box(3))
  np.testing.assert_array_equal(space.low, [-1, -1, 0])
  np.testing.assert_array_equal(space.high, [1, 1, 0])
  assert action_adapter.source_space('slice', box(2), box(3)) == box(2)
  same = action_adapter.source_space('pad_max', choices(4), choices(4))
  assert same == choices(4)
  assert action_adapter.source_space('zero', choices(4), box(2)) == choices(4)
  for source, target in [
      (choices(4), choices(3)), (choices(3), box(3)), (box(3), choices(3))]:
    with pytest.raises(ValueError, match='pad_max cannot map'):
      action_adapter.source_space('pad_max', source, target)


def test_unknown_mode_is_named():
  with pytest.raises(ValueError, match="'pad'.*pad_max, slice"):
    action_adapter.source_size('pad', 4, 5)


@pytest.mark.parametrize('mode, size, expected', [
    ('pad_max', 5, [1, 2, 3, 4, 5]), ('pad_max', 7, [1, 2, 3, 4, 5, 0, 0]),
    ('slice', 4, [1, 2, 3, 4]), ('slice', 5, [1, 2, 3, 4, 5]),
    ('slice', 6, [1, 2, 3, 4, 5, 0]), ('semantic', 4, [1, 2, 3, 5]),
    ('zero', 3, [0, 0, 0])])
def test_target_actions_for_the_source(mode, size, expected):
  action = tf.constant([[[1.0, 2, 3, 4, 5]] * 3] * 2)
  result = action_adapter.adapt(action, size, mode, [0, 1, 2, 4])
  assert result.dtype == action.dtype
  np.testing.assert_array_equal(result, [[expected] * 3] * 2)


@pytest.mark.parametrize('index', [[0, 1], [0, 1, 5], [0, 1, -1]])
def test_wrong_index_is_an_error(index):
  action_adapter.source_size('slice', 3, 5, index)
  with pytest.raises(ValueError, match='index.*name 3 of the 5 target'):
    action_adapter.source_size('semantic', 3, 5, index)


def test_padded_simulator_shows_and_drops_unused_actions():
  env = Simulator()
  padded = action_adapter.PaddedActions(env, 5)
  space = padded.act_space['action']
  assert padded.obs_space is env.obs_space
  np.testing.assert_array_equal(space.low, [-2, -2, -2, 0, 0])
  np.testing.assert_array_equal(space.high, [3, 3, 3, 0, 0])
  action = {'action': np.arange(5.0)}
  assert padded.reset(blocking=False) == padded.reset(7) == 'first'
  assert padded.step(action, blocking=False) == 'next'
  padded.step(action)
  padded.close()
  assert env.calls == [
      ('reset', None, False), ('reset', 7, True), ('step', [0, 1, 2], False),
      ('step', [0, 1, 2], True), 'close']


def test_padded_data_are_those_of_the_replay(tmp_path):
  data, rng = replay.Replay(tmp_path, writable=True), np.random.default_rng(0)
  for rows in (6, 9):
    flags = np.zeros([3, rows], bool)
    flags[0, 0] = flags[1, -1] = True
    data.append({
        'image': rng.integers(0, 256, (rows, 8, 8, 3), np.uint8),
        'action': rng.uniform(-1, 1, (rows, 2)).astype('f4'),
        'reward': rng.normal(size=rows).astype('f4'),
        'is_first': flags[0], 'is_last': flags[1], 'is_terminal': flags[2]})
  padded = action_adapter.PaddedReplay(data, 5)
  assert padded.stats == data.stats
  def check(batch, plain):
    assert set(batch) == set(plain)
    action = batch.pop('action')
    assert action.shape == (4, 3, 5) and action.dtype == np.float32
    np.testing.assert_array_equal(action[..., :2], plain['action'])
    assert not np.any(action[..., 2:])
    for key, value in batch.items():
      np.testing.assert_array_equal(value, plain[key])
  check(*[x.sample(4, 3, np.random.default_rng(1)) for x in (padded, data)])
  arguments = {'seed': 3, 'start': 7, 'prefetch': 2}
  streams = [x.dataset(4, 3, **arguments) for x in (padded, data)]
  assert streams[0].element_spec['action'].shape == (4, 3, 5)
  iterators = [x.take(3).as_numpy_iterator() for x in streams]
  for batches in zip(*iterators, strict=True):
    check(*batches)
