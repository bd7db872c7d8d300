"""The parts of an update beside each other, for benchmarks.train_step."""

import contextlib

from benchmarks.train_step import turns
from dreamerv2_base import progress

PARTS = 'encoder', 'observe', 'decoder', 'imagine', 'returns', 'critic'
STEPS = [
    *(f'{part} {kind}' for part in PARTS for kind in ('forward', 'gradient')),
    'optimizers']
CONTENDERS = {
    'official': ('official_parts', {}),
    'dreamerv2': ('our_parts', {}),
    'dreamerv2-bfloat16': ('our_parts', {'precision': 'bfloat16'})}


def measure(size, size_flags, args):
  """Lets the agents make each part in turns.

  Returns:
    Rows by part: {contender: milliseconds of processors, over cores}, and
    the ratio of the official agent's to each.
  """
  rows = {}
  with contextlib.ExitStack() as stack:
    bar = progress.Progress(len(STEPS), f'{size}, parts', unit='part')
    stack.callback(bar.close)
    processes = {
        name: stack.enter_context(turns.Contender(
            turns.command(kind, size_flags, settings)))
        for name, (kind, settings) in CONTENDERS.items()}
    for step in STEPS:
      found = {name: {'rounds': []} for name in processes}
      for process in processes.values():
        process(step, 1)  # Compiles.
      for _ in range(args.rounds):
        for name, process in processes.items():
          found[name]['rounds'].append(process(step, args.updates))
      rows[step] = judge(found)
      bar.update()
  return {'rows': rows}


def judge(found):
  """Returns the row of a part, see `measure`."""
  threads = turns.threads()
  return {
      name: {
          'ms': round(1000 * turns.median(entry, 'cpu') / threads, 3),
          'speedup': turns.ratio(found['official'], entry)}
      for name, entry in found.items()}


def table(size, found):
  """Returns the rows as a Markdown table."""
  names = list(CONTENDERS)
  lines = [
      f'Size {size}, CPU ms / cores (official / this):', '',
      f"| | {' | '.join(names)} |", '|---' * (1 + len(names)) + '|']
  for step, row in found['rows'].items():
    cells = [f"{row[x]['ms']:.3g} ({row[x]['speedup']:.2f})" for x in names]
    lines.append(f'| {step} | {" | ".join(cells)} |')
  return '\n'.join(lines)


def merge(old, found, facts):
  """Returns what was found at a size, with the facts of the run."""
  return {**facts, **found}


def verdicts(results):
  """Returns nothing, as parts have no targets."""
  return []
