"""What one, three and six sources cost, at the `small` size.

  python -m benchmarks.sources

Each number of sources has a process of its own, which builds a run, learns a
little, and then runs a short schedule to count simulators. The processes take
turns in the timing, so that what else the machine does slows all of them
alike, and ratios are taken within each round. Writes
benchmarks/results/sources.json.
"""

import argparse
import collections
import json
import multiprocessing
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import threading
import time

import tensorflow as tf

from benchmarks import machine, replay
from coworld_tf import cli, inputs, methods
from coworld_tf.datasets import collect
from dreamerv2_base import files, flags, logger

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'sources.json'
COUNTS = 1, 3, 6
TARGET = 'dmc_walker_downhill'
SOURCES = (
    'dmc_walker_walk', 'dmc_cheetah_run', 'dmc_walker_uphill',
    'dmc_walker_stand', 'dmc_cheetah_uphill', 'dmc_walker_run')
FLAGS = (
    f'--configs dmc multi_source small --target_task {TARGET} --time_limit 25 '
    '--precision 32 --multi_source.batches 2 --pretrain 1 '
    '--schedule.prefill 50 --schedule.source_pretrain 1 '
    '--schedule.warmup 1 --schedule.rounds 2 '
    '--schedule.target_blocks 1 --schedule.source_blocks 1 '
    '--schedule.source_steps 60 --schedule.target_steps 30 '
    '--schedule.model_updates 3 --evaluation.target_episodes 1 '
    '--evaluation.final_episodes 1 --evaluation.envs 1')


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.sources',
      description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  parser.add_argument(
      '--rounds', type=int, default=5, help='turns that each takes')
  parser.add_argument(
      '--updates', type=int, default=20,
      help='of the memory measurement, and of each kind in a turn')
  args = parser.parse_args(argv)
  with cli.input_errors():
    if min(args.rounds, args.updates) < 1:
      raise ValueError('--rounds and --updates must be positive')
  facts = {**machine.facts(), 'load': os.getloadavg()[0]}
  logger.setup_terminal()
  directory = pathlib.Path(tempfile.mkdtemp())
  try:
    rows = measure(directory, args.rounds, args.updates)
  finally:
    shutil.rmtree(directory)
  RESULTS.parent.mkdir(exist_ok=True)
  with files.replacing(RESULTS) as temporary:
    temporary.write_text(json.dumps({
        'command': f'python -m benchmarks.sources --rounds {args.rounds} '
                   f'--updates {args.updates}',
        'machine': facts, 'flags': FLAGS, 'rows': rows}, indent=2) + '\n')
  print(table(rows))
  return 0


def measure(directory, rounds, updates):
  """Returns {number of sources: what was measured}."""
  data = directory / 'data'
  status = collect.main([
      '--task', TARGET, '--steps', '200', '--time_limit', '25', '--quality',
      'fast', '--action_repeat', '2', '--envs', '1', '--out', str(data)])
  if status:
    raise SystemExit(status)
  spawn, rows, pipes = multiprocessing.get_context('spawn'), {}, {}
  for count in COUNTS:
    pipes[count], other = spawn.Pipe()
    process = spawn.Process(
        target=serve, args=(other, directory, count, updates), daemon=False)
    process.start()
    # Closed here, so that the end of the process ends the waiting for it.
    other.close()
    rows[count] = {**pipes[count].recv(), 'seconds': []}
  for _ in range(rounds):
    for count, pipe in pipes.items():
      pipe.send(True)
      rows[count]['seconds'].append(pipe.recv())
  for pipe in pipes.values():
    pipe.send(False)
  for row in rows.values():
    row['ratios'] = judge(row['seconds'], rows[COUNTS[0]]['seconds'])
  return rows


def serve(pipe, directory, count, updates):
  """Measures one number of sources; then a turn for each True received."""
  learner, batch, found = prepare(directory, count, updates)
  pipe.send(found)
  while pipe.recv():
    pipe.send(turn(learner, batch, updates, make_config(
        directory, count, 'step')))


def make_config(directory, count, reselect='round'):
  """Parses the flags for a number of sources."""
  return flags.parse([
      *FLAGS.split(), '--multi_source.candidates', *SOURCES[:count],
      '--multi_source.reselect', reselect, '--offline_dir',
      str(directory / 'data'), '--logdir', str(directory / f'run-{count}')],
      ROOT / 'configs')


def prepare(directory, count, updates):
  """Builds a run and lets it learn.

  Returns:
    The learner, a batch, and a dict of megabytes, numbers of parameters, of
    compiled functions and of simulators.
  """
  config = make_config(directory, count)
  inputs.check(config)
  tf.zeros(()).numpy()
  start, memory = replay.resident(), {}
  grown = lambda: round((replay.resident() - start) / 1e6)
  data = inputs.open_dataset(config)
  logdir = pathlib.Path(config.logdir)
  logdir.mkdir()
  trainer = methods.build(config, logdir, data)
  learner = trainer.learner
  memory['built'] = grown()
  batch = next(iter(data.dataset(**config.dataset, seed=0)))
  for _ in range(updates):
    for source in learner.sources:
      source.train(batch)
  memory['sources trained alone'] = grown()
  learner.select([batch])
  for _ in range(updates):
    learner.train_target(batch)
    learner.train_source_aligned(batch, batch)
  memory['trained together'] = grown()
  weights = sum(
      x.shape.num_elements() for x in learner.trainable_variables)
  traces = [
      sum(function.experimental_get_tracing_count() for function in (
          pair.train_target_model, pair.train_target,
          pair.train_source_aligned)) for pair in learner.pairs]
  return learner, batch, {
      'weights': weights, 'megabytes': memory, 'traces_of_pairs': traces,
      'simulators': simulators(trainer)}


def simulators(trainer):
  """Runs a schedule; returns {phase: largest number of simulators}."""
  most, finished = collections.Counter(), threading.Event()

  def watch():
    while not finished.wait(0.02):
      index = int(trainer.block)
      if index < len(trainer.blocks):
        phase = trainer.blocks[index].phase
        most[phase] = max(most[phase], children())

  thread = threading.Thread(target=watch)
  thread.start()
  try:
    trainer.run()
  finally:
    finished.set()
    thread.join()
  return dict(most)


def children():
  """Counts the processes that this one has started and that still run."""
  count = 0
  for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
    try:
      # After the name, which may hold spaces: state and parent.
      state, parent = path.read_text().rpartition(')')[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
      continue
    count += int(parent) == os.getpid() and state != 'Z'
  return count


def turn(learner, batch, updates, stepwise):
  """Returns seconds of a target update, one that selects, a selection."""
  usual, seconds = learner.config, {}
  kinds = {
      'update': (usual, lambda: learner.train_target(batch)),
      'update that selects': (
          stepwise, lambda: learner.train_target(batch)),
      'selection': (usual, lambda: learner.select([batch]))}
  for name, (config, step) in kinds.items():
    learner.config = config
    step()  # Compiles what this kind is the first to need.
    start = time.perf_counter()
    for _ in range(updates):
      step()
    seconds[name] = (time.perf_counter() - start) / updates
  learner.config = usual
  return seconds


def judge(seconds, alone):
  """Returns medians over rounds of ratios.

  Args:
    seconds: list over rounds of what `turn` returns.
    alone: the same for one source.
  """
  median = lambda ratios: round(statistics.median(ratios), 3)
  within = lambda name: median(x[name] / x['update'] for x in seconds)
  return {
      'update / that with one source': median(
          x['update'] / y['update']
          for x, y in zip(seconds, alone, strict=True)),
      'update that selects / update': within('update that selects'),
      'selection / update': within('selection')}


def table(rows):
  """Returns the measurements as a Markdown table."""
  first = next(iter(rows.values()))
  names = [
      'sources', 'million weights', *[f'MB {x}' for x in first['megabytes']],
      'simulators in source blocks', *first['ratios']]
  lines = [f"| {' | '.join(names)} |", '|---' * len(names) + '|']
  for count, row in rows.items():
    alive = max(row['simulators'][x] for x in ('source', 'source_aligned'))
    cells = [
        count, f"{row['weights'] / 1e6:.2f}", *row['megabytes'].values(),
        alive, *row['ratios'].values()]
    lines.append(f"| {' | '.join(map(str, cells))} |")
  return '\n'.join(lines)


if __name__ == '__main__':
  sys.exit(main())
