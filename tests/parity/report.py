"""The table of parity with the official DreamerV2.

  python -m tests.parity.report > docs/parity.md

Runs the official agent in a process of its own, and this one here. With
--store, its outputs are also kept for where it is not installed.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks import official
from dreamerv2_base import files
from tests.parity import agents, cases, here, parts

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORED = pathlib.Path(__file__).parent / 'official.npz'
# Largest differences, relative to the largest entry of each tensor. Over ten
# updates, Adam makes the rounding of small gradients grow.
BOUND = {'value': 1e-5, 'gradient': 1e-5}
BOUNDS = {'train': {'value': 1e-5, 'gradient': 1e-4},
          'ten_updates': {'value': 1e-3}}
DESCRIPTIONS = {
    case.__name__: case.__doc__.split('\n')[0].rstrip('.')
    for case in (*agents.CASES, *parts.CASES, parts.sampler)}
README = 'README, "Against the official DreamerV2"'
DEVIATIONS = (  # What, here, upstream, where it is explained.
    ('reinforce: gradient of the action', 'none',
     'has one in 2.2.0; corrected later, and in what is compared', README),
    ('actions until which to explore', 'no such phase',
     '`expl_until`, divided by the action repeat after 2.2.0', README),
    ('standard deviation of `normal` heads', 'softplus(x) + min_std',
     'x, even if negative', README),
    ('mode of `tanh_normal`', 'best of 100 samples for each dimension',
     'for all, the sample that is best for the first of the batch', README),
    ('`tanh_normal` near the bounds', 'as at 1 - 1e-6', 'as at 1 - 6e-8',
     README),
    ('gradient of `trunc_normal` samples',
     "upstream's, or that of the bounds too (`actor.sample_grad`)",
     'ignores the bounds', README),
    ('layer norm in half precision', 'in float32', 'in half precision',
     README),
    ('baseline of reinforce', 'slow or online critic (`slow_baseline`)',
     'slow critic, the key is not read', README),
    ('state before a batch', 'zero', 'the last of the batch before', README),
)


def main(argv=None):
  """Prints the table; returns 1 if a bound does not hold, else 0."""
  parser = argparse.ArgumentParser(
      prog='python -m tests.parity.report',
      description=__doc__.split('\n')[0])
  parser.add_argument(
      '--store', action='store_true', help=f'also write {STORED.name}')
  args = parser.parse_args(argv)
  try:
    official.folder()
  except FileNotFoundError as error:
    parser.exit(2, f'error: {error}\n')
  print('running both agents takes about a minute', file=sys.stderr)
  theirs = run_official()['outputs']
  if args.store:
    store(theirs)
  rows = compare(cases.run(here), theirs)
  print(page(rows))
  return int(any(
      value > bounds(case)[kind]
      for (case, _), row in rows.items() for kind, value in row.items()))


def run_official():
  """Runs the official agent, and hands it the weights of the one here.

  Returns:
    Dict of dicts: outputs of `cases.run`, weights from `cases.weights`, and
    own and given, `cases.actions` with these and with our weights.
  """
  with tempfile.TemporaryDirectory() as directory:
    weights = pathlib.Path(directory) / 'weights.npz'
    outputs = pathlib.Path(directory) / 'outputs.npz'
    np.savez(weights, **cases.weights(here))
    done = subprocess.run(
        [sys.executable, '-m', 'tests.parity.official', '--weights', weights,
         '--out', outputs], cwd=ROOT, env=official.environment(),
        capture_output=True, text=True)
    if done.returncode:
      raise RuntimeError(f'the official agent failed:\n{done.stderr[-4000:]}')
    with np.load(outputs) as file:
      arrays = dict(file)
  results = {'outputs': {}, 'weights': {}, 'own': {}, 'given': {}}
  for key, array in arrays.items():
    kind, name = key.split('/', 1)
    results[kind][name] = array
  return results


def store(outputs):
  """Keeps outputs as one array, because thousands of entries take space."""
  arrays = [*thin(outputs).values()]
  with files.replacing(STORED) as temporary, temporary.open('wb') as file:
    np.savez_compressed(
        file, names=[*outputs], sizes=[x.size for x in arrays],
        values=np.concatenate(arrays))


def stored():
  """Returns the outputs that `store` kept."""
  with np.load(STORED) as file:
    parts = np.split(file['values'], np.cumsum(file['sizes'])[:-1])
    return dict(zip(file['names'].tolist(), parts, strict=True))


def thin(outputs, limit=50):
  """Keeps every n-th number of large arrays, n being odd."""
  thinned = {}
  for name, array in outputs.items():
    array = array.reshape(-1)
    step = array.size // limit | 1 if array.size > limit else 1
    thinned[name] = array[::step]
  return thinned


def compare(ours, theirs):
  """Compares the outputs of `cases.run`.

  Returns:
    {(case, agent): {'value': largest relative difference, 'gradient': ...}}.

  Raises:
    ValueError: names or shapes of the outputs differ.
  """
  if set(ours) != set(theirs):
    raise ValueError(f'only one side gives {sorted(set(ours) ^ set(theirs))}')
  rows = {}
  for key, array in theirs.items():
    case, agent, kind, _ = key.split('/', 3)
    row = rows.setdefault((case, agent), {})
    row[kind] = max(row.get(kind, 0.0), difference(ours[key], array, key))
  return rows


def difference(ours, theirs, name):
  """Largest difference relative to the largest entry, 0 if nothing differs.

  Raises:
    ValueError: the shapes differ, or a number is not finite.
  """
  if ours.shape != theirs.shape:
    raise ValueError(f'{name}: shapes {ours.shape} and {theirs.shape}')
  if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
    raise ValueError(f'{name}: not finite')
  gap = np.abs(ours - theirs).max(initial=0)
  return float(gap / np.abs(theirs).max(initial=1e-30)) if gap else 0.0


def bounds(case):
  """Returns the bounds of a case for 'value' and 'gradient'."""
  return BOUNDS.get(case, BOUND)


def page(rows):
  """Returns the table and the deviations as Markdown."""
  heads = [*cases.AGENTS, 'parts alone']
  lines = [
      '# Parity with the official DreamerV2', '',
      'Printed by `python -m tests.parity.report`: the largest differences '
      'between the', 'official agent (`dreamerv2==2.2.0`) and this one, of '
      'values / of gradients,', 'relative to the largest entry of each '
      'tensor, with equal weights, batches and', 'noise. Rows of the second '
      'table are left out of the first.', '',
      f"| component | {' | '.join(heads)} | bound |",
      '|---' * (len(heads) + 2) + '|']
  for case in dict.fromkeys(case for case, _ in rows):
    cells = [cell(rows.get((case, name))) for name in (*cases.AGENTS, '')]
    lines.append(
        f"| {DESCRIPTIONS[case]} | {' | '.join(cells)} | "
        f'{cell(bounds(case))} |')
  lines += [
      '', 'Different on purpose:', '', '| what | here | upstream | see |',
      '|---|---|---|---|']
  lines += [f"| {' | '.join(row)} |" for row in DEVIATIONS]
  return '\n'.join(lines)


def cell(row):
  """Returns 'value / gradient' of a row."""
  if not row:
    return ''
  return ' / '.join(
      f'{row[kind]:.0e}' if kind in row else '-'
      for kind in ('value', 'gradient'))


if __name__ == '__main__':
  sys.exit(main())
