"""Evaluations beside updates: of what they began with, whole or not there."""

import json
import shutil
import time
from concurrent import futures

import numpy as np
import pytest

from coworld_tf import checkpoints, cli, evaluations, keeper, methods
from dreamerv2_base import config, logger
from tests import runs, test_overlap

GRAPH = '--compile', 'graph'  # Or nothing is beside.


def build(logdir, *args):
  return runs.online(
      logdir, '--schedule.source_pretrain', '3', '--schedule.source_steps',
      '16', '--actor_opt.lr', '1', *args)


def records(logdir):
  lines = (logdir / evaluations.NAME).read_text().splitlines()
  return {record['step']: record for record in map(json.loads, lines)}


@pytest.mark.parametrize('flags', [
    ('--overlap', 'none'), ('--overlap', 'all', *GRAPH)])
def test_a_checkpoint_has_the_return_of_its_own_policy(tmp_path, flags):
  logdir, alone = tmp_path / 'run', tmp_path / 'alone'
  build(logdir, *flags).run()
  found = records(logdir)
  assert len({record['returns'][0] for record in found.values()}) > 1
  rated = {
      path: score for path in checkpoints.kept(logdir / 'checkpoints')
      if (score := checkpoints.score(path)) is not None}
  assert checkpoints.best(rated)
  for path, score in rated.items():
    step = sum(checkpoints.read(path)['position']['updates'].values())
    assert score == np.mean(found[step]['returns'])
  # The run goes back to before that evaluation, and finds the same.
  best = checkpoints.best(rated)
  shutil.copytree(logdir, alone)
  for path in checkpoints.kept(alone / 'checkpoints'):
    if path.name != best.name:
      shutil.rmtree(path)
  trainer = build(alone, *flags)
  trainer.phases(trainer.blocks[trainer.block])
  trainer.settle()
  trainer.evaluator.close()
  trainer.keeper.close()
  *_, again = records(alone).values()
  assert again['returns'] == found[again['step']]['returns']
  assert checkpoints.score(checkpoints.pick(alone, 'last')) == rated[best]


def test_an_unfinished_one_leaves_nothing(tmp_path):
  trainer = build(tmp_path, *GRAPH)
  # The first is not beside.
  trainer.evaluator.begin('source', 'test', {'step': 0}, judged=True)
  assert not trainer.evaluator.running
  trainer.evaluator.finish()
  learner, replay, _ = trainer.domains['source']
  endless = methods.make_env(
      config.Config({**trainer.config, 'time_limit': 10 ** 6}), 'dummy_2',
      learner)
  trainer.domains['source'] = learner, replay, endless
  trainer.evaluator.begin('source', 'test', {'step': 0}, judged=True)
  assert trainer.evaluator.running
  result = trainer.evaluator._result
  begun = time.time()
  trainer.evaluator.close()
  assert time.time() - begun < 30
  with pytest.raises(futures.CancelledError):
    result.result()
  trainer.logger.close()
  trainer.keeper.close()
  assert len((tmp_path / evaluations.NAME).read_text().splitlines()) == 1


def test_a_simulator_that_fails_ends_the_run(tmp_path):
  trainer = build(tmp_path)
  learner, replay, _ = trainer.domains['source']
  def make_env(seed):
    raise ValueError('no such simulator')
  trainer.domains['source'] = learner, replay, make_env
  with pytest.raises(ValueError, match='no such simulator'):
    trainer.run()
  assert checkpoints.pick(tmp_path, 'last').name == 'ckpt-1'  # Of the prefill.


def test_waiting_belongs_to_the_block_beside(tmp_path):
  trainer = build(tmp_path, *GRAPH)
  trainer.evaluator.close()
  # Episodes are run when their results are wanted.
  trainer.evaluator._pool = test_overlap.AtLast(1)
  trainer.evaluator._unwanted.clear()
  trainer.run()
  lines = logger.read_metrics(tmp_path / 'metrics.jsonl')
  steps = [line['step'] for line in lines]
  assert steps == sorted(steps)  # Those of updates have waited.
  spent = sum(
      line['evaluation_seconds'] for line in lines
      if line['phase'] == 'evaluate_source')
  assert trainer.shares.phases['source']['evaluation'] > spent > 0


def test_a_checkpoint_that_fails_ends_the_run(tmp_path, monkeypatch):
  check, calls = keeper.check_finite, []
  def third_is_not_finite(prefix):
    calls.append(prefix)
    if len(calls) == 3:
      raise cli.Fault('not finite')
    check(prefix)
  monkeypatch.setattr(keeper, 'check_finite', third_is_not_finite)
  with pytest.raises(cli.Fault, match='not finite'):
    build(tmp_path).run()
  paths = [path.name for path in (tmp_path / 'checkpoints').glob('ckpt*')]
  assert len(paths) == 2 and not any('tmp' in name for name in paths)
  build(tmp_path).run()  # Goes back to the last.
