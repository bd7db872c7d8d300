"""Checkpoints: whole or not there, few, and refused where they do not fit."""

import json
import logging
import os
import resource
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

from coworld_tf import checkpoints, cli, inputs, keeper
from dreamerv2_base import files


class Learner(tf.Module):
  """Two variables."""

  def __init__(self, size=3):
    super().__init__()
    self.weights = tf.Variable(tf.zeros(size))
    self.count = tf.Variable(0, dtype=tf.int64)


@pytest.fixture
def make(tmp_path, make_config):
  made = []
  def make(learner=None, **override):
    for before in made:
      before.close()
    (tmp_path / 'checkpoints').mkdir(exist_ok=True)
    made.append(keeper.Keeper(
        tmp_path / 'checkpoints', learner or Learner(),
        make_config(override)))
    return made[-1]
  return make


def save(made, facts, pending, score=None):
  made.save(facts, pending)
  if score is not None:
    made.rate(score)
  made.settle()


def write(made, scores):
  """Saves once for each score; the variables tell which it was."""
  for index, score in enumerate(scores, 1):
    made.variables.learner.weights.assign([index, 0, 0.1])
    save(made, {'position': index}, {'x': [index]}, score)


def names(tmp_path):
  return sorted(
      path.name for path in (tmp_path / 'checkpoints').glob('ckpt-*'))


def restored(made):
  """Number of the checkpoint that a new learner gets."""
  facts, pending = made.restore()
  index, _, share = made.variables.learner.weights.numpy().tolist()
  assert pending == {'x': [facts['position']]} == {'x': [index]}
  assert share == np.float32(0.1)
  return int(index)


def test_nothing_to_restore(make, tmp_path):
  assert make().restore() is None and names(tmp_path) == []


def test_one_process_at_a_time(make, tmp_path, make_config):
  first = make()
  first.restore()
  second = keeper.Keeper(first.directory, Learner(), make_config())
  with pytest.raises(ValueError, match=f'{tmp_path}: another process is tra'):
    second.restore()
  first.close()
  second.restore()
  second.close()


def test_last_two_and_the_best_are_kept(make, tmp_path):
  first = make()
  write(first, [None, 1, 3, 3, 2, None])  # Numbers 1, 3, 5, 7, 9 and 10.
  assert names(tmp_path) == ['ckpt-10', 'ckpt-5', 'ckpt-9']
  second = make()
  assert restored(second) == 6  # And knows the best of another process.
  save(second, {'position': 7}, {}, 2.5)
  assert names(tmp_path) == ['ckpt-10', 'ckpt-12', 'ckpt-5']
  save(second, {'position': 8}, {}, 4)
  save(second, {'position': 9}, {})
  save(second, {'position': 10}, {})
  assert names(tmp_path) == ['ckpt-14', 'ckpt-15', 'ckpt-16']
  assert checkpoints.pick(tmp_path, 'best').name == 'ckpt-14'
  assert checkpoints.pick(tmp_path, 'last').name == 'ckpt-16'
  assert [facts['position'] for facts in second.last()] == [9, 10]


@pytest.mark.parametrize('links', [True, False])
def test_a_return_takes_no_second_copy(make, tmp_path, monkeypatch, links):
  def no_link(*_):
    raise PermissionError
  if not links:
    monkeypatch.setattr(os, 'link', no_link)
  made = make()
  made.save({'position': 1}, {'x': [1]})
  made.variables.learner.weights.assign([7, 7, 7])  # It is written already.
  made.settle()
  data, = (tmp_path / 'checkpoints' / 'ckpt-1').glob('*.data*')
  before = data.stat().st_ino
  made.rate(3.5)
  made.settle()
  assert names(tmp_path) == ['ckpt-2']
  path = tmp_path / 'checkpoints' / 'ckpt-2'
  data, = path.glob('*.data*')
  assert (data.stat().st_ino == before) == links
  assert checkpoints.read(path)['return'] == checkpoints.score(path) == 3.5
  again = make()
  assert again.restore()[0]['position'] == 1
  assert again.variables.learner.weights.numpy().tolist() == [0, 0, 0]


def test_settled_when_over_or_wanted(make, tmp_path, monkeypatch):
  made, go = make(), threading.Event()
  check = keeper.check_finite
  monkeypatch.setattr(keeper, 'check_finite', lambda prefix: (
      go.wait(), check(prefix)))
  assert not made.settle()
  made.save({'position': 1}, {})
  assert not made.settle(wait=False)
  assert names(tmp_path) == ['ckpt-1.tmp'] and not made.last()
  go.set()
  assert made.settle()
  assert names(tmp_path) == ['ckpt-1'] and len(made.last()) == 1


def test_no_other_checkpoint_gets_the_return_of_one_that_failed(
    make, tmp_path):
  made = make()
  save(made, {'position': 1}, {})
  made.variables.learner.weights.assign([0, np.nan, 0])
  made.save({'position': 2}, {})
  made.rate(5.0)
  for _ in range(2):
    with pytest.raises(cli.Fault, match='learner/weights not finite'):
      made.settle()
  assert names(tmp_path) == ['ckpt-1']
  assert checkpoints.score(tmp_path / 'checkpoints' / 'ckpt-1') is None


def test_damage_is_not_covered_up_by_a_return(make, tmp_path):
  made = make()
  write(made, [None, None])
  path = tmp_path / 'checkpoints' / 'ckpt-2' / 'variables.index'
  path.write_bytes(b'?' + path.read_bytes()[1:])
  made.rate(5.0)
  with pytest.raises(cli.Fault, match='ckpt-2/variables.index: damaged'):
    made.settle()
  assert names(tmp_path) == ['ckpt-1', 'ckpt-2']
  assert restored(make()) == 1


def test_limit_of_files(make, tmp_path):
  made = make(Learner(10_000))
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
  try:
    with pytest.raises(OSError, match='File too large: .*ckpt-1'):
      save(made, {}, {})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert names(tmp_path) == []
  save(made, {}, {})
  assert names(tmp_path) == ['ckpt-1']


def test_damaged_one_is_passed_over(make, tmp_path, caplog):
  write(make(), [5, None, None])
  path = tmp_path / 'checkpoints' / 'ckpt-4' / 'variables.index'
  path.write_bytes(b'?' + path.read_bytes()[1:])
  (tmp_path / 'checkpoints' / 'ckpt-5.tmp').mkdir()
  with caplog.at_level(logging.WARNING, 'coworld_tf.keeper'):
    again = make()
    assert restored(again) == 2
  message, = caplog.messages
  assert message == (
      f'warning: {path}: damaged, not as SHA256SUMS says; going back to '
      'ckpt-3')
  assert 'ckpt-5.tmp' not in names(tmp_path)
  save(again, {'position': 9}, {'x': [2]})
  assert names(tmp_path) == ['ckpt-2', 'ckpt-3', 'ckpt-4']
  files.check_checksums(path.parent)
  for name in names(tmp_path):
    (tmp_path / 'checkpoints' / name / 'checkpoint.json').unlink()
  with pytest.raises(ValueError, match='ckpt-2/checkpoint.json: missing.*no '):
    make().restore()


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_what_is_not_finite_is_never_written(make, tmp_path, value):
  made = make()
  write(made, [None])
  made.variables.learner.weights.assign([0, value, 0])
  with pytest.raises(cli.Fault, match='learner/weights not finite'):
    save(made, {'position': 2}, {})
  assert names(tmp_path) == ['ckpt-1']
  assert restored(make()) == 1


def test_other_configuration_is_refused_unless_forced(make, tmp_path):
  write(make(), [None])
  with pytest.raises(ValueError, match="seed '0' instead of '1', discount '0"):
    make(seed=1, discount=0.5).restore()
  assert restored(make(seed=1, discount=0.5, resume='force')) == 1
  with pytest.raises(ValueError, match='checkpoints: holds checkpoints; '):
    make(resume='never').restore()
  with pytest.raises(ValueError, match='--resume force cannot change'):
    make(Learner(4), resume='force').restore()


def test_other_format_is_refused(make, tmp_path):
  write(make(), [None, None])
  path = tmp_path / 'checkpoints' / 'ckpt-2'
  facts = json.loads((path / 'checkpoint.json').read_text())
  (path / 'checkpoint.json').write_text(json.dumps({**facts, 'format': 99}))
  files.write_checksums(path)
  with pytest.raises(ValueError, match='has format 99, this version reads 1'):
    make().restore()
  shutil.rmtree(path)
  (tmp_path / 'checkpoints' / 'checkpoint').touch()
  with pytest.raises(ValueError, match='checkpoints of an earlier version'):
    make().restore()


def test_settings_that_came_later_do_not_count(make_config):
  before = make_config().to_dict()
  del before['resume'], before['rssm']['stoch']
  assert inputs.differences(before, make_config({'rssm.stoch': 9})) == ''
