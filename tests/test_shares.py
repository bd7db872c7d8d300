"""Every second of a run belongs to one kind of work."""

import json
import threading

import pytest

from coworld_tf import shares


@pytest.fixture
def clock(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(shares.time, 'perf_counter', lambda: now[0])
  def wait(seconds):
    now[0] += seconds
  return wait


def spent(made):
  return {kind: x for kind, x in made.facts()['block'].items() if x}


def test_the_innermost_kind_counts(clock):
  made = shares.Shares()
  clock(1)
  with made('evaluation'):
    clock(2)
    with made('data'):
      clock(4)
    clock(8)
  clock(16)
  assert spent(made) == {'other': 17, 'evaluation': 10, 'data': 4}


def test_an_update_counts_whatever_else_is_done(clock):
  made, begun, over = shares.Shares(), threading.Event(), threading.Event()
  def work():
    with made('update'):
      begun.set()
      over.wait()
  with made('environment'):
    clock(1)
    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    clock(2)
  clock(4)
  with made('environment'):
    clock(8)
    over.set()
    thread.join()
    clock(16)
  assert spent(made) == {'environment': 17, 'update': 14}


def test_an_error_ends_its_kind(clock):
  made = shares.Shares()
  with pytest.raises(KeyError), made('data'):
    raise KeyError
  clock(1)
  assert spent(made) == {'other': 1}


def test_phases_add_up_over_resumes(clock):
  phases = 'source', 'target'
  made = shares.Shares(phases)
  with made('update'):
    clock(3)
  with made('environment'):
    clock(1)
  found, seconds = made.finish('source')
  assert shares.line(found) == '75.0 % update, 25.0 % environment'
  assert seconds == 4
  with made('update'):
    clock(6)
  again = shares.Shares(phases)
  again.resume(json.loads(json.dumps(made.facts())))
  with again('data'):
    clock(2)
  found, seconds = again.finish('source')
  assert shares.line(found) == '75.0 % update, 25.0 % data'
  assert seconds == 8
  assert again.summary() == {'source': {
      'seconds': 12.0, 'update': 0.75, 'data': 0.1667,
      'environment': 0.0833, 'evaluation': 0.0, 'checkpoint': 0.0,
      'other': 0.0}}
