"""Logger: JSON lines, TensorBoard, GIF files."""

import json
import logging
import math
import subprocess
import sys

import imageio.v3 as imageio
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from dreamerv2_base import logger


@pytest.fixture
def plain(tmp_path):
  return logger.Logger(tmp_path / 'run', tensorboard=False)


def lines(tmp_path):
  return (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()


def moving_square():
  video = np.zeros((12, 16, 24, 3), np.uint8)
  for index, frame in enumerate(video):
    frame[4:8, 2 * index:2 * index + 2] = 255, 20 * index, 10
  return video


def test_means_since_last_write(plain, tmp_path):
  plain.scalar('loss', 1)
  plain.scalar('loss', np.float32(2))
  plain.add({'kl': tf.constant(0.5, tf.bfloat16), 'n': np.int64(3)}, 'model')
  plain.add({'kl': tf.Variable(7.0)})
  plain.write(np.int64(10), phase='source')
  plain.scalar('loss', 1 / 3)
  plain.write(tf.constant(20))
  plain.write(30)
  assert [json.loads(line) for line in lines(tmp_path)] == [
      {'step': 10, 'phase': 'source', 'loss': 1.5, 'model/kl': 0.5,
       'model/n': 3.0, 'kl': 7.0},
      {'step': 20, 'loss': 0.3333333}]


@pytest.mark.parametrize('filled', [True, False])
def test_what_is_written_waits_for_an_open_entry(plain, tmp_path, filled):
  plain.scalar('kl', 1)
  plain.video('prediction', moving_square())
  fill = plain.leave_open(5, phase='evaluate')
  plain.scalar('loss', 2)
  plain.write(6)
  plain.scalar('loss', 3)
  assert not (tmp_path / 'run' / 'metrics.jsonl').exists()
  assert plain.pending() == {'loss': [3.0]}  # Not of the line that waits.
  if filled:
    fill({'return': 7.0}, {
        'episode': logger.encode('episode', moving_square())})
    plain.write(7)
  plain.close()
  known = {'return': 7.0} if filled else {}
  assert [json.loads(line) for line in lines(tmp_path)] == [
      {'step': 5, 'phase': 'evaluate', 'kl': 1.0, **known},
      {'step': 6, 'loss': 2.0}, *[{'step': 7, 'loss': 3.0}] * filled]
  videos = sorted(x.name for x in (tmp_path / 'run' / 'videos').iterdir())
  assert videos == [*['episode-5.gif'] * filled, 'prediction-5.gif']


def test_not_finite_is_null(plain, tmp_path):
  plain.add({'a': float('nan'), 'b': float('-inf'), 'c': 1e-30})
  plain.write(1)
  assert lines(tmp_path) == [
      '{"step": 1, "a": null, "b": null, "c": 1e-30}']
  record, = logger.read_metrics(tmp_path / 'run' / 'metrics.jsonl')
  assert math.isnan(record['a']) and math.isnan(record['b'])


def test_half_written_line(plain, tmp_path):
  path = tmp_path / 'run' / 'metrics.jsonl'
  plain.scalar('loss', 1)
  plain.write(1)
  with path.open('a') as file:
    file.write('{"step": 2, "lo')
  assert logger.read_metrics(path) == [{'step': 1, 'loss': 1.0}]
  logger.rewind(path, path.stat().st_size)
  resumed = logger.Logger(tmp_path / 'run', tensorboard=False)
  resumed.scalar('loss', 3)
  resumed.write(2)
  assert [x['loss'] for x in logger.read_metrics(path)] == [1.0, 3.0]


def test_rewind(tmp_path, caplog):
  path = tmp_path / 'metrics.jsonl'
  logger.rewind(path, 2)
  assert not path.exists()
  assert '2 of the 2 bytes that the checkpoint knows' in caplog.text
  lines = b'{"step": 1}\n', b'{"step": 2}\n', b'{"step": 3'
  sizes = {0: 0, 11: 0, 12: 1, 23: 1, 24: 2, 30: 2, 99: 2}
  for size, count in sizes.items():
    path.write_bytes(b''.join(lines))
    logger.rewind(path, size)
    assert path.read_bytes() == b''.join(lines[:count])


@pytest.mark.parametrize('values', [1.0, 'abc', ['a'], [[1]], [None]])
def test_pending_metrics_are_lists_of_numbers(tmp_path, values):
  log = logger.Logger(tmp_path, tensorboard=False)
  with pytest.raises(ValueError, match="'x' is no list of numbers"):
    log.resume({'x': values})
  log.close()


def test_pending_numbers_are_those_of_the_next_line(tmp_path):
  logs = [
      logger.Logger(tmp_path / name, tensorboard=False) for name in 'abc']
  values = [0.1, 1 / 3, float('nan'), 1e300]
  for value in values:
    logs[0].scalar('x', value)
  for value in values[:2]:
    logs[1].scalar('x', value)
  pending = json.loads(json.dumps(logs[1].pending()))
  assert pending == {'x': values[:2]}
  logs[2].resume(pending)
  for value in values[2:]:
    logs[2].scalar('x', value)
  for log in logs[::2]:
    log.write(1)
    assert log.pending() == {}
  first, _, third = [
      (tmp_path / name / 'metrics.jsonl') for name in 'abc']
  assert first.read_bytes() == third.read_bytes()


def test_broken_metrics(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"step": 1}\n{"st\n{"step": 2}\n')
  with pytest.raises(ValueError, match='metrics.jsonl, line 2: not valid'):
    logger.read_metrics(path)
  path.write_text('')
  assert logger.read_metrics(path) == []


def test_gif(plain, tmp_path):
  plain.video('eval/target', moving_square())
  plain.video('float', moving_square()[..., :1] / 255)
  plain.write(40)
  folder = tmp_path / 'run' / 'videos'
  assert sorted(x.name for x in folder.iterdir()) == [
      'eval_target-40.gif', 'float-40.gif']
  path = folder / 'eval_target-40.gif'
  np.testing.assert_array_equal(imageio.imread(path), moving_square())
  assert imageio.immeta(path)['duration'] == 50
  assert imageio.imread(folder / 'float-40.gif').shape == (12, 16, 24, 3)
  assert not (tmp_path / 'run' / 'metrics.jsonl').exists()


@pytest.mark.parametrize('method, shape, message', [
    ('video', (4, 4, 3), r"'x' must be \[T, H, W, C\].*shape \(4, 4, 3\)"),
    ('video', (0, 4, 4, 3), r'shape \(0, 4, 4, 3\)'),
    ('video', (2, 4, 4, 2), 'with 1 or 3 channels'),
    ('scalar', (1,), r"metric 'x' is no scalar, shape \(1,\)"),
])
def test_wrong_shape(plain, method, shape, message):
  with pytest.raises(ValueError, match=message):
    getattr(plain, method)('x', np.zeros(shape))


def test_tensorboard(tmp_path):
  output = logger.Logger(tmp_path)
  output.scalar('loss', 2.5)
  output.video('eval', moving_square())
  output.write(7)
  output.close()
  events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
  assert set(events.Tags()['tensors']) == {'loss', 'eval'}
  scalar, = events.Tensors('loss')
  assert scalar.step == 7 and tf.make_ndarray(scalar.tensor_proto) == 2.5
  event, = events.Tensors('eval')
  width, height, data = event.tensor_proto.string_val
  assert (width, height) == (b'24', b'16')
  np.testing.assert_array_equal(
      imageio.imread(data, extension='.gif'), moving_square())
  plugin = events.SummaryMetadata('eval').plugin_data.plugin_name
  assert plugin == 'images'


def test_messages_of_both_packages_are_shown(capsys):
  roots = list(map(logging.getLogger, ('dreamerv2_base', 'coworld_tf')))
  before = [(x.handlers[:], x.level, x.propagate) for x in roots]
  logger.setup_terminal('coworld_tf')
  logger.setup_terminal('coworld_tf')
  for name in ('dreamerv2_base.replay', 'coworld_tf.trainer', 'other'):
    logging.getLogger(name).info('from %s', name)
  for log, (handlers, level, propagate) in zip(roots, before, strict=True):
    log.handlers[:], log.level, log.propagate = handlers, level, propagate
  assert capsys.readouterr().err.split('\n') == [
      'from dreamerv2_base.replay', 'from coworld_tf.trainer', '']


def test_tensorflow_only_for_tensorboard(tmp_path):
  code = (
      'import sys; from dreamerv2_base import logger; '
      f'logger.Logger({str(tmp_path)!r}, tensorboard=False); '
      'sys.exit("tensorflow" in sys.modules)')
  assert subprocess.run([sys.executable, '-c', code]).returncode == 0
