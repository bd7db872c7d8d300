import json
import os
import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from coworld_tf import inputs
from coworld_tf.analysis import records
from coworld_tf.datasets import __main__ as program
from coworld_tf.datasets import collect
from dreamerv2_base import episodes, replay, store
from tests.datasets import sources
from tests.fuzz import hostile, sandbox
from tests.fuzz.test_configs import BASE

METADATA = {
    'task': 'dummy_3', 'action_repeat': 2, 'time_limit': 0, 'size': 64,
    'quality': 'exact', 'camera': '', 'complete': True, 'episodes': 3,
    'steps': 15, 'frames': 30, 'imported': {'source': 'x'},
    'returns': {'mean': 1.0}}
EVALUATION = {
    'policy': 'target', 'step': 3, 'returns': [1.0], 'successes': [True],
    'target_updates': 3}


def write(directory):
  """Makes a small dataset; returns the lines of its index."""
  directory.mkdir()
  with store.Writer(directory) as writer:
    for seed in range(3):
      writer.append(sources.content(rows=5 + seed, seed=seed, size=4))
  episodes.write_metadata(directory, METADATA)
  return (directory / store.INDEX).read_bytes().splitlines(keepends=True)


def use(directory):
  """All that reads a dataset or continues it."""
  data = replay.Replay(directory)
  data.sample(2, 3, np.random.default_rng(0))
  inputs.check_metadata(BASE, directory)


def consider(directory):
  """Programs that look at a dataset."""
  for argv in (['validate', directory], ['info', directory],
               ['validate', directory, '--repair']):
    status = program.main([str(word) for word in argv])
  if status == 1:  # It tells of faults.
    raise SystemExit(0)


def extend(directory):
  """Adds to what is there, as an interrupted program does."""
  collect.find_progress(directory, {'task': 'dummy_3'})
  with store.Writer(directory) as writer:
    writer.append(sources.content(rows=6, seed=9, size=4))


@st.composite
def indexes(draw, lines):
  """Lines of an index with some changed."""
  found = [json.loads(line) for line in lines]
  for _ in range(draw(st.integers(1, 3))):
    record = draw(st.sampled_from(found))
    part = draw(st.sampled_from([record, *(
        x for x in record.values() if isinstance(x, dict))]))
    key = draw(st.sampled_from(sorted(part) or ['x']) | hostile.texts)
    part[key] = draw(hostile.values | st.integers(-2, 20))
  order = draw(st.permutations(range(len(found)))) if draw(
      st.booleans()) else range(len(found))
  return b''.join(hostile.dumped(found[i]) + b'\n' for i in order)


@pytest.fixture(scope='module', autouse=True)
def template(tmp_path_factory):
  """A dataset to copy, which is quicker than to write one."""
  directory = tmp_path_factory.mktemp('template') / 'data'
  write(directory)
  return directory


with sandbox.folder() as place:
  INDEX = write(place / 'data')

ENTRIES = indexes(INDEX) | hostile.damaged(st.just(b''.join(INDEX))) | (
    st.lists(st.sampled_from(INDEX) | hostile.values.map(
        lambda x: hostile.dumped(x) + b'\n') | st.binary(max_size=30).map(
            lambda x: x + b'\n'), max_size=5).map(b''.join)) | (
    hostile.deep.map(lambda x: INDEX[0] + x.encode() + b'\n' + INDEX[1]))


@pytest.mark.parametrize('function', [use, consider, extend])
@hypothesis.given(content=ENTRIES)
def test_indexes(function, content, template):
  with sandbox.folder() as folder:
    shutil.copytree(template, folder / 'data')
    (folder / 'data' / store.INDEX).write_bytes(content)
    outputs = [] if function is use else ['data']
    sandbox.outcome(lambda: function(folder / 'data'), folder, *outputs)


@pytest.mark.parametrize('function', [use, consider, extend])
@hypothesis.given(content=
    st.dictionaries(
        st.sampled_from(sorted(METADATA)) | hostile.texts, hostile.values,
        max_size=3).map(lambda x: hostile.dumped({**METADATA, **x}))
    | hostile.values.map(hostile.dumped) | hostile.deep.map(str.encode)
    | hostile.damaged(st.just(hostile.dumped(METADATA)))
    | st.binary(max_size=50))
def test_metadata(function, content, template):
  with sandbox.folder() as folder:
    shutil.copytree(template, folder / 'data')
    (folder / 'data' / episodes.METADATA).write_bytes(content)
    outputs = [] if function is use else ['data']
    sandbox.outcome(lambda: function(folder / 'data'), folder, *outputs)


@hypothesis.given(
    st.dictionaries(
        st.sampled_from(sorted(EVALUATION)) | hostile.texts, hostile.values,
        max_size=3).map(lambda x: hostile.dumped({**EVALUATION, **x}))
    | hostile.values.map(hostile.dumped) | hostile.deep.map(str.encode)
    | st.binary(max_size=50))
def test_records(content):
  with sandbox.folder() as folder:
    (folder / 'summary.json').write_bytes(content)
    sandbox.outcome(
        lambda: records.read_evaluations(folder / 'summary.json'), folder)
    sandbox.outcome(
        lambda: records.read(folder / 'summary.json', {'step': int}), folder)


LINKS = [
    'metadata.json', 'metadata.json.tmp', 'index.jsonl', 'index.jsonl.tmp',
    'writer.lock', 'shard-00000', 'shard-00000/image.bin', 'shard-00001',
    'quarantine', 'quarantine/faults.jsonl']


@pytest.mark.parametrize('make', [
    lambda path, mine: path.symlink_to(mine / 'precious'),
    lambda path, mine: path.symlink_to(mine),
    lambda path, mine: path.symlink_to(mine / 'new'),
    lambda path, mine: path.symlink_to(path),
    lambda path, mine: os.mkfifo(path),
    lambda path, mine: path.mkdir()])
@pytest.mark.parametrize('name', LINKS)
@pytest.mark.parametrize('function', [use, consider, extend])
def test_what_is_no_file(function, name, make, template):
  with sandbox.folder() as folder:
    shutil.copytree(template, folder / 'data')
    # A fault, so that a repair would write.
    rows = folder / 'data' / 'shard-00000' / 'action.bin'
    rows.write_bytes(b'\xff' + rows.read_bytes()[1:])
    path = folder / 'data' / name
    path.parent.mkdir(exist_ok=True)
    if path.exists():
      path.rename(folder / 'moved')
    make(path, folder / 'mine')
    sandbox.outcome(lambda: function(folder / 'data'), folder, 'data')
