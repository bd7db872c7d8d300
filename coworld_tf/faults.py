"""Numbers that are not finite: named, kept for inspection, never learned.

An update whose losses, gradients or new weights are not finite leaves all
variables as they were, see dreamerv2_base/transaction.py. Batches are looked
at before that. What is found is written to RUN/faults:

    <domain>-<update>.npz    the batches, keys `batch.reward` and so on;
                             `batch_2` is the target's in stage B
    <domain>-<update>.json   what of them, and which metrics, gradients and
                             variables are not finite

With on_nan `stop` the run ends there, and the same command continues from the
last checkpoint. With `skip` it goes on with the next batch; the metric
`skipped` is the share of such updates, and LIMIT of them are kept. Variables
that are not finite before an update end the run in any case.
"""

import json
import logging

import numpy as np
import tensorflow as tf

from coworld_tf import cli
from dreamerv2_base import files, optimizer

LIMIT = 20  # Skipped updates on disk per run.


class Guard:
  """Makes the updates of a run and keeps faults from its variables."""

  def __init__(self, config, logdir, learner):
    """Looks at the variables that a run starts or continues with.

    Args:
      config: configuration, of which on_nan is read.
      logdir: directory of the run.
      learner: tf.Module with all agents.

    Raises:
      cli.Fault: a variable is not finite.
    """
    self._skip, self._learner = config.on_nan == 'skip', learner
    self._directory = logdir / 'faults'
    self._log = logging.getLogger(__name__)
    if self._variables():
      self._handle('start', {'variables': self._variables()}, {})

  def __call__(self, name, agent, train, *batches):
    """Makes an update, unless its data are not finite.

    Args:
      name: of the update, for messages and files.
      agent: dreamerv2_base.agent.Agent that it trains, or None.
      train: function of the batches that makes it. It returns a dict of
        metrics, in which `skipped` tells whether it changed nothing.
      *batches: dicts of arrays.

    Returns:
      The metrics; after a fault `skipped` alone.

    Raises:
      cli.Fault: there was a fault that ends the run.
    """
    data = {
        f'batch_{index}' if index > 1 else 'batch': batch
        for index, batch in enumerate(batches, 1)}
    found = {
        label: [key for key, x in batch.items() if not _finite(x)]
        for label, batch in data.items()}
    if not any(found.values()):
      metrics = train(*batches)
      if not metrics['skipped']:
        return metrics
      found = self._causes(agent, metrics)
    elif agent:
      agent.updates.assign_add(1)
    number = f'-{int(agent.updates)}' if agent else ''
    self._handle(f'{name}{number}', found, data)
    return {'skipped': 1.0}

  def _causes(self, agent, metrics):
    """Kind -> names of what was not finite in an update."""
    names, modules = _paths(self._learner), agent.submodules if agent else ()
    return {
        'metrics': [key for key, x in metrics.items() if not _finite(x)],
        'gradients': sorted(
            names[var.ref()] for module in modules
            if isinstance(module, optimizer.Optimizer)
            for var in module.faulty(metrics)),
        'variables': self._variables()}

  def _variables(self):
    """Names of the variables that are not finite."""
    return sorted(
        name for ref, name in _paths(self._learner).items()
        if not _finite(ref.deref()))

  def _handle(self, name, found, data):
    """Writes, tells and perhaps raises a fault."""
    found = {kind: names for kind, names in found.items() if names}
    path = self._directory / f'{name}.json'
    kept = set(self._directory.glob('*.json'))
    told = '; '.join(_short(*item) for item in found.items())
    message = f'not finite at {name}: {told}; see {path}'
    if 'variables' in found or not self._skip:
      _write(path, found, data)
      raise cli.Fault(f'{message}; {_advice(found)}')
    if path in kept or len(kept) < LIMIT:
      _write(path, found, data)
      self._log.warning('warning: update skipped, %s', message)


def _advice(found):
  """What a user can do about a fault."""
  if 'variables' in found:
    return 'return to an older checkpoint or start in another --logdir'
  skip = 'go on without such updates by --on_nan skip'
  if 'metrics' in found:
    return f'{skip}, or start in another --logdir with lower learning rates'
  return f'repair the data, or {skip}'


def _finite(value):
  """Whether an array, tensor or variable has finite numbers only."""
  value = _array(value)
  return value.dtype.kind != 'f' or bool(np.isfinite(value).all())


def _array(value):
  """An array of NumPy's own types, to which bfloat16 does not belong."""
  if isinstance(value, tf.Variable):
    value = value.value()  # Calls no operation in a thread, see threads.py.
  value = np.asarray(value)
  return value.astype(np.float32) if value.dtype.kind == 'V' else value


def _paths(learner):
  """Reference of each variable of a module -> its shortest dotted name."""
  view = tf.train.TrackableView(learner)
  names, queue, seen = {}, [('', learner)], set()
  for path, node in queue:  # Grows on the way.
    for key, child in view.children(node).items():
      # What an optimizer updates has a name in its own module.
      if key == 'targets' or id(child) in seen:
        continue
      seen.add(id(child))
      queue.append((f'{path}{key}.', child))
      if isinstance(child, tf.Variable):
        names[child.ref()] = f'{path}{key}'
  return names


def _short(kind, names, limit=3):
  """The first names of a kind and the number of the others."""
  more = f' and {len(names) - limit} more' if len(names) > limit else ''
  return f'{kind}: {", ".join(names[:limit])}{more}'


def _write(path, found, data):
  """Writes batches as plain arrays and what of them is not finite."""
  path.parent.mkdir(parents=True, exist_ok=True)
  arrays = {
      f'{label}.{key}': _array(x)
      for label, batch in data.items() for key, x in batch.items()}
  if arrays:
    with files.replacing(path.with_suffix('.npz')) as temporary:
      with temporary.open('wb') as file:
        np.savez_compressed(file, **arrays)
  with files.replacing(path) as temporary:
    temporary.write_text(json.dumps(found, indent=2) + '\n')
