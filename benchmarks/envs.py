"""Speed of the simulators in agent steps per second, images included.

  python -m benchmarks.envs

Steps one task of each suite in both render qualities with one, two and four
worker processes, as training does. They take turns, so that what else the
machine does slows all of them alike, and ratios are taken within each round.
Writes benchmarks/results/envs.json.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import statistics
import sys
import time

import envs
from benchmarks import machine
from coworld_tf import cli
from dreamerv2_base import files, logger, progress
from envs import driver, worker

RESULTS = pathlib.Path(__file__).with_name('results') / 'envs.json'
COUNTS = 1, 2, 4
# Task -> how many times as fast as 'exact' its 'fast' quality has to be.
TASKS = {
    'dmc_walker_walk': 5, 'metaworld_door-close': 8, 'robodesk_open_slide': 5}
TWO_WORKERS = 1.5  # The same for two workers and one.


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.envs', description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  parser.add_argument(
      '--rounds', type=int, default=5, help='turns that each takes')
  parser.add_argument(
      '--seconds', type=float, default=1.5, help='least length of a turn')
  args = parser.parse_args(argv)
  with cli.input_errors():
    if args.rounds < 1 or not args.seconds > 0:
      raise ValueError('--rounds and --seconds must be positive')
  logger.setup_terminal()
  result = {
      'command': 'python -m benchmarks.envs '
                 f'--rounds {args.rounds} --seconds {args.seconds:g}',
      'machine': {**machine.facts(), 'load': os.getloadavg()[0]},
      'tasks': {}}
  for task in TASKS:
    rates = measure(task, args.rounds, args.seconds)
    result['tasks'][task] = {'rates': rates, 'ratios': judge(rates)}
  RESULTS.parent.mkdir(exist_ok=True)
  with files.replacing(RESULTS) as temporary:
    temporary.write_text(json.dumps(result, indent=2) + '\n')
  print(table(result['tasks']))
  for line in misses(result['tasks']):
    print(line)
  return 0


def measure(task, rounds, seconds):
  """Measures all combinations of quality and number of workers in turns.

  Returns:
    {quality: {number of workers: list over rounds of steps per second}}.
  """
  rates = {quality: {n: [] for n in COUNTS} for quality in envs.QUALITIES}
  turns = list(itertools.product(envs.QUALITIES, COUNTS))
  with contextlib.ExitStack() as stack:
    workers = {
        quality: [
            stack.enter_context(worker.Worker(task, seed, quality=quality))
            for seed in range(max(COUNTS))]
        for quality in envs.QUALITIES}
    bar = progress.Progress(rounds * len(turns), task, unit='turn')
    stack.enter_context(contextlib.closing(bar))
    for _ in range(rounds):
      for quality, count in turns:
        speed = steps_per_second(workers[quality][:count], seconds)
        rates[quality][count].append(round(speed, 2))
        bar.update()
  return rates


def steps_per_second(workers, seconds):
  """Drives the workers with random actions for at least `seconds`."""
  policy = driver.RandomPolicy(workers[0].act_space, seed=0)
  rollout = driver.Driver(workers)
  # Resets, which takes as long as many steps but is rare in training.
  rollout(policy, steps=len(workers))
  before, start, elapsed = rollout.steps, time.perf_counter(), 0
  while elapsed < seconds:
    rollout(policy, steps=len(workers))
    elapsed = time.perf_counter() - start
  return (rollout.steps - before) / elapsed


def judge(rates):
  """Returns the medians over rounds of the ratios that matter."""
  def ratio(above, below):
    pairs = zip(above, below, strict=True)
    return round(statistics.median(x / y for x, y in pairs), 2)
  return {
      'fast / exact': ratio(rates['fast'][1], rates['exact'][1]),
      **{f'2 / 1 workers, {quality}': ratio(by_count[2], by_count[1])
         for quality, by_count in rates.items()}}


def table(tasks):
  """Returns median speeds and ratios as a Markdown table."""
  lines = [
      '| task | quality | 1 worker | 2 workers | 4 workers | 2 / 1 workers '
      '| fast / exact |', '|---|---|---|---|---|---|---|']
  for task, entry in tasks.items():
    for quality, rates in entry['rates'].items():
      speeds = [f'{statistics.median(x):.3g}' for x in rates.values()]
      ratios = entry['ratios']
      gain = ratios['fast / exact'] if quality == 'fast' else ''
      cells = [task, quality, *speeds, ratios[f'2 / 1 workers, {quality}']]
      lines.append('| ' + ' | '.join(map(str, [*cells, gain])) + ' |')
  return '\n'.join(lines)


def misses(tasks):
  """Returns a line for each ratio that is lower than it should be."""
  return [
      f'{task}: {name} is {value}, not at least {least}'
      for task, entry in tasks.items()
      for name, value in entry['ratios'].items()
      for least in [TASKS[task] if name == 'fast / exact' else TWO_WORKERS]
      if value < least]


if __name__ == '__main__':
  sys.exit(main())
