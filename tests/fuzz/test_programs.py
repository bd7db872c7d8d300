import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from coworld_tf.datasets import __main__ as program
from dreamerv2_base import store
from tests.datasets import sources
from tests.fuzz import sandbox

ROOT = pathlib.Path(__file__).parents[2]
TRAIN = ['train.py', '--configs', 'dreamerv2', 'debug']
DATASETS = ['-m', 'coworld_tf.datasets']


def dataset(folder):
  """A small dataset whose index is yet to be spoiled."""
  path = folder / 'data'
  path.mkdir()
  with store.Writer(path) as writer:
    writer.append(sources.content(rows=60, size=64))
  return path / store.INDEX


def huge_shapes(folder):
  """An episode of gigabytes, by its header."""
  header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2**40,)}\n"
  header = header.replace(b'2**40', str(2 ** 40).encode())
  with zipfile.ZipFile(folder / '0.npz', 'w') as archive:
    for key, array in sources.content().items():
      data = sources.npy(array)
      if key == 'image':
        data = data[:8] + len(header).to_bytes(2, 'little') + header
      archive.writestr(f'{key}.npy', data)


def bad_header(folder):
  index = dataset(folder)
  header, line = index.read_text().splitlines()
  record = json.loads(header)
  record['keys']['image']['shape'] = [2 ** 14, 2 ** 14, 3]
  index.write_text(f'{json.dumps(record)}\n{line}\n')


def linked(folder):
  index = dataset(folder)
  shutil.move(index.parent / 'shard-00000', folder / 'mine' / 'shard')
  (index.parent / 'shard-00000').symlink_to(folder / 'mine' / 'shard')
  (folder / '0.npz').symlink_to(folder / 'mine' / 'precious')


def aliases(folder):
  (folder / 'log').mkdir()
  (folder / 'log' / 'config.yaml').write_text('seed: &a [*a]\n')


def escaping(folder):
  (folder / 'log').mkdir()
  (folder / 'log' / 'metrics.jsonl').symlink_to(folder / 'mine' / 'precious')


@pytest.mark.parametrize('prepare, argv, words', [
    (aliases, [*TRAIN, '--task', 'dummy_2', '--logdir', 'log'],
     'config.yaml, line 1: anchors (&), aliases (*) and tags (!) are not'),
    (escaping, [*TRAIN, '--task', 'dummy_2', '--logdir', 'log'],
     'metrics.jsonl: is a symbolic link'),
    (None, [*TRAIN, '--logdir', 'log', '--rssm.deter', '1' + '0' * 300],
     'rssm.deter: 1000'),
    (None, [*TRAIN, '--logdir', 'log', '--task', '\x1b[31m\udcff'],
     "unknown task '\\x1b[31m\\udcff'"),
    (None, [*TRAIN, '--configs', '../../etc/passwd'], 'is given twice'),
    (None, ['train.py', '--configs', '../../etc/passwd'], 'unknown overlay'),
    (aliases, ['-m', 'coworld_tf.evaluate', '--logdir', 'log'], 'aliases'),
    (None, ['-m', 'coworld_tf.evaluate', '--logdir', 'log', '--envs',
            '9' * 99], '--envs is 999'),
    (huge_shapes, [*DATASETS, 'import', '.', '--out', 'out'], '0.npz'),
    (bad_header, [*DATASETS, 'info', 'data'], 'line 1 is damaged: rows of'),
    (linked, [*DATASETS, 'import', '.', '--out', 'data'],
     '0.npz: not a readable npz'),
    (None, [*DATASETS, 'collect', '--task', 'dummy_2', '--steps', '10',
            '--out', 'out', '--envs', '100000'], '--envs is 100000'),
    (None, [*DATASETS, 'collect', '--task', 'dummy_2', '--steps', '10',
            '--out', 'out', '--size', '1000000000'], 'size is 1000000000')])
def test_programs(prepare, argv, words):
  with sandbox.folder() as folder:
    if prepare:
      prepare(folder)
    before = sorted(folder.rglob('*'))
    result = subprocess.run(
        [sys.executable, *(str(ROOT / x) if x == 'train.py' else x
                           for x in argv)],
        cwd=folder, capture_output=True, text=True, timeout=60,
        errors='surrogateescape', env={**os.environ, 'PYTHONPATH': str(ROOT)})
    sandbox.COUNTS['programs'] += 1
    *others, line = result.stderr.splitlines()
    assert result.returncode == 2 and not others, result.stderr
    assert line.startswith('error: ') and words in line, line
    written = {path.name for path in {*folder.rglob('*')} - {*before}}
    assert written <= {'out', 'writer.lock', 'metadata.json'}
    assert (folder / 'mine' / 'precious').read_bytes() == b'mine' * 100


@pytest.mark.parametrize('argv', [
    ['import', '\0', '--out', 'x'], ['info', '\0'], ['info', 'x' * 5000],
    ['validate', '~/\ud800'], ['collect', '--steps', '9' * 5000],
    ['export', '/dev/null', '--format', 'minari', '--out', '/dev/full'],
    ['import', '/dev/zero', '--out', '/proc/x'], ['\0'], []])
def test_arguments(argv):
  with sandbox.folder() as folder:
    assert sandbox.outcome(lambda: program.main(argv), folder)
