"""Measures training data from disk beside episodes in memory.

  python -m benchmarks.replay

Builds a dataset of 2 million frames, of which the first shard is written and
the others are hard links to it, and a smaller one of compressed npz files,
which are loaded into memory as DreamerV2 does. Each measurement has a process
of its own. Results go to benchmarks/results/replay.json.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import sys
import time

import numpy as np

from benchmarks import machine
from coworld_tf import cli
from dreamerv2_base import episodes, files, replay, store

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'replay.json'
BATCH, LENGTH = 50, 50
ROWS = 501  # Of an episode, 500 steps.
EPISODES, NPZ_EPISODES = 4000, 40
ROUNDS, BATCHES = 5, 40
TARGETS = {
    'first_batch_seconds': 1, 'resident_mb': 500, 'sequences_per_second': 5000}


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.replay',
      description='Measure the replay on 2 million frames.')
  parser.add_argument(
      '--dir', type=pathlib.Path, default=ROOT / 'runs' / 'benchmark-replay',
      help='directory for the data, removed afterwards (1.4 GB)')
  args = parser.parse_args(argv)
  with cli.input_errors():
    if args.dir.exists():
      raise ValueError(f'{args.dir} exists; remove it or choose another --dir')
    args.dir.mkdir(parents=True)
  facts = machine.facts()
  try:
    rows = measure(args.dir)
  finally:
    shutil.rmtree(args.dir)
  text = json.dumps({
      'machine': facts, 'batch': BATCH, 'length': LENGTH, 'targets': TARGETS,
      'results': rows}, indent=2)
  with files.replacing(RESULTS) as temporary:
    temporary.write_text(text + '\n')
  show(rows)
  return 0


def measure(directory):
  """Builds the datasets; returns the measurements by what is measured."""
  print('writing the datasets')
  start = time.time()
  build_store(directory / 'store', EPISODES)
  print(f'  store: {time.time() - start:.0f} s')
  start = time.time()
  build_npz(directory / 'npz', NPZ_EPISODES)
  print(f'  npz: {time.time() - start:.0f} s')
  cases = {
      'store': (measure_store, directory / 'store'),
      'store, into TensorFlow': (measure_dataset, directory / 'store'),
      'npz in memory, as DreamerV2': (measure_npz, directory / 'npz')}
  rows = {}
  for name, (function, path) in cases.items():
    forget(path)
    # A new process, so that its memory is what the case needs.
    with concurrent.futures.ProcessPoolExecutor(
        1, multiprocessing.get_context('spawn')) as executor:
      rows[name] = executor.submit(function, path).result()
  return rows


def build_store(directory, count):
  """Makes a store of `count` episodes, one shard of them in full."""
  directory.mkdir()
  rng = np.random.default_rng(0)
  with store.Writer(directory) as data:
    while len(data.episodes) < count:
      entry = data.append(make_episode(rng))
      if entry['shard']:
        break
    index = directory / store.INDEX
    header, *lines = index.read_text().splitlines()
    written = [
        entry for entry in map(json.loads, lines) if entry['shard'] == 0]
    lines = [header]
    for number in range(count):
      shard, place = divmod(number, len(written))
      if shard and not place:
        link(directory / 'shard-00000', directory / f'shard-{shard:05d}')
      entry = {**written[place], 'id': number, 'shard': shard}
      lines.append(json.dumps(entry))
    with files.replacing(index) as temporary:
      temporary.write_text('\n'.join(lines) + '\n')


def link(source, directory):
  """Fills a directory with hard links to the files of another."""
  shutil.rmtree(directory, ignore_errors=True)
  directory.mkdir()
  for path in source.iterdir():
    os.link(path, directory / path.name)


def build_npz(directory, count):
  """Writes `count` episodes as DreamerV2 does."""
  directory.mkdir()
  rng = np.random.default_rng(0)
  for number in range(count):
    np.savez_compressed(directory / f'{number}.npz', **make_episode(rng))


def make_episode(rng):
  """Returns an episode of noise, which is the quickest to decompress."""
  first = np.arange(ROWS) == 0
  return {
      'image': rng.integers(0, 256, (ROWS, 64, 64, 3), np.uint8),
      'action': rng.uniform(-1, 1, (ROWS, 6)).astype(np.float32),
      'reward': rng.uniform(0, 1, ROWS).astype(np.float32),
      'is_first': first, 'is_last': first[::-1], 'is_terminal': ~first & first}


def forget(directory):
  """Asks the kernel to drop what it has cached of the files."""
  for path in directory.rglob('*'):
    if path.is_file():
      file = os.open(path, os.O_RDONLY)
      os.fsync(file)
      os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
      os.close(file)


def measure_store(directory):
  """Samples by `replay.Replay`."""
  before, start = resident(), time.time()
  data = replay.Replay(directory)
  rng = np.random.default_rng(0)
  draw = lambda: data.sample(BATCH, LENGTH, rng)
  return rates(draw, data.total_steps, before, start)


def measure_dataset(directory):
  """The same through `tf.data`, as in training."""
  with cli.quiet_loading():
    import tensorflow as tf
    tf.zeros(()).numpy()
  before, start = resident(), time.time()
  data = replay.Replay(directory)
  batches = iter(data.dataset(BATCH, LENGTH, 0, prefetch=2))
  return rates(lambda: next(batches), data.total_steps, before, start)


def measure_npz(directory):
  """Loads all episodes, then samples from memory."""
  before, start = resident(), time.time()
  loaded = []
  for path in directory.glob('*.npz'):
    with np.load(path) as archive:
      loaded.append({key: archive[key] for key in archive.files})
  rng = np.random.default_rng(0)

  def draw():
    chosen = rng.integers(len(loaded), size=BATCH)
    starts = rng.integers(ROWS - LENGTH + 1, size=BATCH)
    return {
        key: np.stack([
            loaded[index][key][first: first + LENGTH]
            for index, first in zip(chosen, starts, strict=True)])
        for key in episodes.KEYS}

  return rates(draw, len(loaded) * (ROWS - 1), before, start)


def rates(draw, frames, before, start):
  """Times the first batch and, from a warm cache, rounds of batches."""
  draw()
  first = time.time() - start
  # That is six times the bytes that there are to cache.
  for _ in range(5 * BATCHES):
    draw()
  seconds = []
  for _ in range(ROUNDS):
    start = time.time(), time.process_time()
    for _ in range(BATCHES):
      draw()
    seconds.append(np.subtract((time.time(), time.process_time()), start))
  speed, alone = BATCH * BATCHES / np.median(seconds, 0)
  return {
      'frames': frames, 'first_batch_seconds': round(first, 3),
      'sequences_per_second': round(speed),
      # What it would be on an idle machine.
      'sequences_per_cpu_second': round(alone),
      'resident_mb': round((resident('VmHWM') - before) / 1e6)}


def resident(name='VmRSS'):
  """Returns the memory of this process in bytes; VmHWM is its maximum."""
  status = pathlib.Path('/proc/self/status').read_text()
  return 1024 * int(re.search(rf'{name}:\s+(\d+) kB', status)[1])


def show(rows):
  """Prints the measurements as a table, with the targets."""
  names = 'frames', *TARGETS, 'sequences_per_cpu_second'
  print('| | ' + ' | '.join(name.replace('_', ' ') for name in names) + ' |')
  print('|---' * (1 + len(names)) + '|')
  targets = {'frames': EPISODES * (ROWS - 1), **TARGETS}
  for name, row in {**rows, 'target': targets}.items():
    values = [f'{row[key]:,}' if key in row else '' for key in names]
    print(f'| {name} | {" | ".join(values)} |')


if __name__ == '__main__':
  sys.exit(main())
