"""Faults at random moments of real runs, which must end as without them.

  python -m benchmarks.faults --rounds 100 --jobs 2

Each round draws a method and a fault or two: signals, a full disk, simulators
that are killed or hang, damaged files. The same command is started again until
the run is finished. Its variables, logs but for clocks, videos and replay must
be those of a run that was left alone. Whatever ends a process must have one of
the documented statuses, and print an error of one line at most. Writes
benchmarks/results/faults.json.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import multiprocessing
import pathlib
import random
import shutil
import sys
import tempfile
import time

from benchmarks import fault_kinds, fault_runs, machine
from coworld_tf import cli
from dreamerv2_base import files, logger, progress

RESULTS = fault_runs.ROOT / 'benchmarks' / 'results' / 'faults.json'
DISK = 2 ** 25  # Bytes of a file system that gets full.


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.faults', description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  add = parser.add_argument
  add('--rounds', type=int, default=100, help='runs with faults')
  add('--seed', type=int, default=0, help='of what is drawn')
  add('--jobs', type=int, default=1, help='rounds at a time')
  add('--methods', nargs='+', default=list(fault_runs.METHODS),
      choices=list(fault_runs.METHODS), metavar='NAME', help='to draw from')
  add('--faults', type=int, default=2, help='most of them in a round')
  add('--out', type=pathlib.Path, default=RESULTS, help='JSON file')
  args = parser.parse_args(argv)
  with cli.input_errors():
    if min(args.rounds, args.jobs, args.faults) < 1:
      raise ValueError('--rounds, --jobs and --faults must be positive')
    facts = machine.facts()
  logger.setup_terminal()
  words = sys.argv[1:] if argv is None else argv
  result = {
      'command': ' '.join(['python -m benchmarks.faults', *words]),
      'machine': facts, 'flags': fault_runs.FLAGS}
  place, start = pathlib.Path(tempfile.mkdtemp(prefix='faults-')), time.time()
  rounds = []
  for found in run_all(args, place):
    rounds.append(found)
    result.update(
        seconds=round(time.time() - start), summary=summary(rounds),
        rounds=rounds)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(args.out) as temporary:
      temporary.write_text(json.dumps(result, indent=1) + '\n')
  print(table(result))
  if any(x['lost'] or x['differences'] for x in rounds):
    print(f'what is left of these rounds is in {place}')
    return 1
  shutil.rmtree(place)
  return 0


def run_all(args, place):
  """Yields what came out of each round, a dict, in order of their ends."""
  fault_runs.prepare()
  data = place / 'data'
  fault_runs.collect(data)
  tmpfs = fault_kinds.can_mount(data)
  with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
    references = dict(zip(args.methods, pool.map(
        lambda method: undisturbed(method, data, place / method),
        args.methods), strict=True))
    bar = progress.Progress(args.rounds, 'faults', unit='round')
    with contextlib.closing(bar):
      futures = [
          pool.submit(
              run_round, draw(args, number, tmpfs), data, place, references)
          for number in range(args.rounds)]
      try:
        for future in concurrent.futures.as_completed(futures):
          bar.update()
          yield future.result()
      finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
          process.kill()


def draw(args, number, tmpfs):
  """Draws a round: number, seed, method, faults and whether to mount.

  The groups of faults take turns.
  """
  seed = f'{args.seed}, {number}'
  rng = random.Random(seed)
  method = rng.choice(args.methods)
  without = fault_kinds.REPLAY if method == 'offline_dv2' else set()
  if not tmpfs:
    without = {*without, 'full disk'}
  groups = [
      [name for name in kinds if name not in without]
      for kinds in fault_kinds.KINDS.values()]
  every = sum(groups, [])
  chosen = [rng.choice(groups[number % len(groups)])]
  chosen += rng.choices(every, k=rng.randrange(args.faults))
  # The others let the run end.
  chosen.sort(key=every.index)
  return {
      'number': number, 'seed': seed, 'method': method, 'faults': chosen}


def undisturbed(method, data, place):
  """Returns a fault_runs.Run of a method without faults."""
  run = fault_runs.Run(method, data, place)
  run.finish(run.start())
  return run


def run_round(plan, data, place, references):
  """Returns a plan with what came out; leaves files if that was not well."""
  rng, start = random.Random(plan['seed']), time.time()
  reference = references[plan['method']]
  lines, content = reference.lines(), reference.content()
  size = sum(map(len, content.values()))
  folder = place / f"round-{plan['number']}"
  run = fault_runs.Run(plan['method'], data, folder)
  happened, found, lost = [], [], None
  with contextlib.ExitStack() as stack:
    if 'full disk' in plan['faults']:
      stack.enter_context(fault_kinds.mounted(run.disk, DISK))
    try:
      for name in plan['faults']:
        if happens(name)(run, lines, size, rng):
          happened.append(name)
      if not run.finished:
        run.finish(run.start())
      found = fault_runs.differences(reference.logdir, run.logdir)
    except fault_runs.Lost as error:
      lost = str(error)
    if (lost or found) and run.disk.is_mount():
      shutil.copytree(run.logdir, folder / 'run', dirs_exist_ok=True)
  if not lost and not found:
    shutil.rmtree(folder)
  updates, episodes = map(int, run.again)
  return {
      **plan, 'happened': happened, 'starts': len(run.starts), 'lost': lost,
      'differences': found, 'updates_again': updates,
      'episodes_again': episodes, 'seconds': round(time.time() - start, 1)}


def happens(name):
  """Returns the function of a kind of fault."""
  return next(
      kinds[name] for kinds in fault_kinds.KINDS.values() if name in kinds)


def summary(rounds):
  """Returns counts over rounds, and {fault: counts}."""
  kinds = {}
  for group in fault_kinds.KINDS.values():
    for name in group:
      with_it = [x for x in rounds if name in x['happened']]
      kinds[name] = {
          'injected': sum(x['happened'].count(name) for x in rounds),
          **outcomes(with_it)}
  again = collections.Counter()
  for found in rounds:
    again.update({
        key: found[key] for key in ('updates_again', 'episodes_again')})
  return {
      'rounds': len(rounds), **outcomes(rounds), **again,
      'starts': sum(x['starts'] for x in rounds), 'kinds': kinds}


def outcomes(rounds):
  """Counts what became of the runs of rounds."""
  return {
      'recovered': sum(not (x['lost'] or x['differences']) for x in rounds),
      'lost': sum(bool(x['lost']) for x in rounds),
      'different': sum(bool(x['differences']) for x in rounds)}


def table(result):
  """Returns a table in Markdown and a line below it."""
  found = result['summary']
  lines = [
      '| fault | injected | runs recovered | lost | different |',
      '|---|---|---|---|---|']
  lines += [
      f"| {name} | {' | '.join(str(x) for x in row.values())} |"
      for name, row in found['kinds'].items()]
  total = sum(row['injected'] for row in found['kinds'].values())
  lines.append(
      f"\n{found['rounds']} rounds, {total} faults, {found['starts']} starts "
      f"in {progress.duration(result['seconds'])}: {found['recovered']} runs "
      f"recovered, {found['lost']} lost, {found['different']} different; at "
      f"least {found['updates_again']} updates and {found['episodes_again']} "
      'episodes made again')
  return '\n'.join(lines)


if __name__ == '__main__':
  sys.exit(main())
