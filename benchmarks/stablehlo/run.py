"""Repeats an exported training step by numpy and jaxlib alone.

  python run.py DIR                            # on the processor
  python run.py DIR --device cuda --peak 989   # see docs/export.md

DIR is from export.py beside this file, which needs nothing else of the
project. Each update takes the networks and optimizers that the one before
left. Where DIR has TensorFlow's losses, the first updates must agree with
them closely, those after the networks are set to TensorFlow's of the middle
too, and all others roughly: once a class is drawn otherwise, for a rounding
of its probability, two runs go apart. Status 1 if they do not agree.
"""

import argparse
import ctypes
import importlib.util
import json
import os
import pathlib
import platform
import resource
import statistics
import sys
import time
import types

import jaxlib
import numpy as np
from jaxlib import xla_client

PLUGIN = 'xla_{}*/xla_{}_plugin.so'
NEAR = 3  # Updates from equal networks on that must agree closely.


def main(argv=None):
  """Runs the command line; returns the exit status."""
  args = parse_arguments(argv)
  try:
    if args.updates < 1 or args.peak is not None and not args.peak > 0:
      raise ValueError('--updates and --peak must be positive')
    if args.out:
      args.out.open('a').close()  # Rather now than after the updates.
    step = Step(args.directory, open_device(args.device))
    reference = step.settings['reference']
    expected = np.load(args.directory / 'losses.npz') if reference else None
  except (ValueError, OSError) as error:
    print('error:', ' '.join(str(error).split()), file=sys.stderr)
    return 2
  seconds, metrics = step.repeat(args.updates)
  result = {
      'settings': step.settings, 'machine': machine(step.device),
      'compile_seconds': round(step.compile_seconds, 2),
      **speed(seconds, step.settings, args.peak),
      'memory': memory(step.device)}
  if expected:
    middle = step.settings['middle']
    step.restore(args.directory / 'middle.npz')
    _, others = step.repeat(NEAR, middle)
    result['losses'] = judge(
        gaps(metrics, expected), gaps(others, expected, middle),
        **step.settings['tolerance'])
  text = json.dumps(result, indent=2)
  print(text)
  if args.out:
    args.out.write_text(text + '\n')
  return 0 if not expected or result['losses']['equal'] else 1


def parse_arguments(argv=None):
  """Parses the command line."""
  parser = argparse.ArgumentParser(
      description=__doc__.split('\n')[0], allow_abbrev=False)
  add = parser.add_argument
  add('directory', type=pathlib.Path, metavar='DIR', help='exported step')
  add('--device', default='cpu', metavar='NAME',
      help='cpu, cuda, or the path of a PJRT plugin (default cpu)')
  add('--updates', type=int, default=100, metavar='N', help='default 100')
  add('--peak', type=float, metavar='TFLOPS',
      help='10^12 operations per second that the device can do in the '
      'precision of the step')
  add('--out', type=pathlib.Path, metavar='JSON', help='file for the result')
  return parser.parse_args(argv)


class Place(xla_client.SingleDeviceSharding):
  """A device as the place of an array, with what jaxlib asks of jax here."""

  memory_kind = None

  def _to_xla_hlo_sharding(self, dimensions):
    return xla_client.HloSharding.replicate()


def open_device(name):
  """Returns the first device of a kind.

  Raises:
    ValueError: it cannot be used.
  """
  if name == 'cpu':
    return xla_client.make_cpu_client().local_devices()[0]
  library, options = find_plugin(name), {}
  if name == 'cuda':
    options = xla_client.generate_pjrt_gpu_plugin_options()
  try:
    xla_client.load_pjrt_plugin_dynamically(name, str(library))
    xla_client.initialize_pjrt_plugin(name)
    return xla_client.make_c_api_client(name, options).local_devices()[0]
  except RuntimeError as error:
    raise ValueError(f'--device {name}: {error}') from None


def find_plugin(name):
  """Returns the library of a PJRT plugin, 'cuda' or the path of one.

  Raises:
    ValueError: there is none.
  """
  path = pathlib.Path(name)
  if path.is_file():
    return path.resolve()
  spec = importlib.util.find_spec('jax_plugins')
  for folder in spec.submodule_search_locations if spec else ():
    for path in pathlib.Path(folder).glob(PLUGIN.format(name, name)):
      # cuDNN needs it, and does not look where wheels have it.
      for library in path.parents[2].glob('nvidia/*/lib/libnvrtc.so.*'):
        ctypes.CDLL(str(library))
      return path
  raise ValueError(
      f'--device {name}: no such file and no such plugin; for cuda, '
      f'pip install "jax-cuda12-plugin[with-cuda]=={jaxlib.__version__}"')


class Step:
  """An exported training step on a device."""

  def __init__(self, directory, device):
    """Compiles it and brings its values to the device.

    Args:
      directory: folder of the files.
      device: of jaxlib.

    Raises:
      ValueError: the export was not finished.
      OSError: a file is missing.
    """
    if not (directory / 'benchmark.json').exists():
      raise ValueError(
          f'{directory}: has no benchmark.json, which export.py writes last; '
          'export the step to a new folder')
    read = lambda name: json.loads((directory / name).read_text())
    facts, batches = read('train_step.json'), directory / 'batches.npz'
    self.settings, self.device = read('benchmark.json'), device
    self.inputs, self.outputs = facts['inputs'], facts['outputs']
    self.values, batches = {}, dict(np.load(batches))
    self.restore(directory / facts['values'])
    self.batches = [
        {name: self._put(x[index]) for name, x in batches.items()}
        for index in range(self.settings['batches'])]
    code, start = (directory / facts['module']).read_bytes(), time.time()
    self.function = device.client.compile_and_load(
        code, xla_client.DeviceList((device,)), xla_client.CompileOptions())
    self.compile_seconds = time.time() - start

  def restore(self, path):
    """Takes values of inputs from a file."""
    with np.load(path) as values:
      self.values.update({name: self._put(values[name]) for name in values})

  def repeat(self, updates, made=0):
    """Makes updates on batches that are on the device already.

    Args:
      updates: how many.
      made: how many were made before, which tells the next batch.

    Returns:
      Seconds of each, and name -> metrics [updates].
    """
    seconds, metrics = [], {}
    for index in range(made, made + updates):
      values = {**self.values, **self.batches[index % len(self.batches)]}
      arguments = [values[x['name']] for x in self.inputs]
      start = time.perf_counter()
      arrays = self.function.execute(arguments)
      xla_client.batched_block_until_ready(arrays)
      seconds.append(time.perf_counter() - start)
      for output, array in zip(self.outputs, arrays, strict=True):
        if 'next' in output:
          self.values[output['next']] = array
        else:
          value, _ = array._single_device_array_to_np_array_did_copy()
          metrics.setdefault(output['name'], []).append(value)
    return seconds, {name: np.array(x) for name, x in metrics.items()}

  def _put(self, array):
    kind = types.SimpleNamespace(
        shape=array.shape, dtype=array.dtype, weak_type=False)
    return xla_client.batched_device_put(
        kind, Place(self.device), [array], [self.device], enable_x64=True)


def machine(device):
  """Returns facts about the device and versions."""
  return {
      'device': device.device_kind,
      'platform': device.client.platform_version.replace('\n', ' '),
      'cores': os.cpu_count(), 'python': platform.python_version(),
      'jaxlib': jaxlib.__version__, 'numpy': np.__version__}


def memory(device):
  """Returns most MB used on the device, None if it does not tell, and here."""
  used = (device.memory_stats() or {}).get('peak_bytes_in_use')
  here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return {'device_mb': used and round(used / 1e6), 'mb': round(here / 1e3)}


def speed(seconds, settings, peak):
  """Returns the median time of an update and what follows from it.

  Args:
    seconds: of each update.
    settings: benchmark.json.
    peak: 10^12 operations per second of the device, or None.
  """
  median = statistics.median(seconds)
  rate = settings['operations'] / median / 1e12
  return {
      'updates': len(seconds), 'milliseconds': round(1e3 * median, 3),
      'first_milliseconds': round(1e3 * seconds[0], 3),
      'rows_per_second': round(
          settings['batch'] * settings['length'] / median, 1),
      'tflops': round(rate, 4),
      'fraction_of_peak': peak and round(rate / peak, 4)}


def gaps(metrics, expected, made=0):
  """Returns name of a loss -> differences [updates] from TensorFlow's.

  They are relative to the loss's mean size in all of TensorFlow's updates.
  """
  found = {}
  for name in (x for x in expected if x.endswith('loss')):
    theirs = expected[name].astype('f8')
    count = min(len(theirs) - made, len(metrics[name]))
    gap = np.abs(metrics[name][:count] - theirs[made:made + count])
    found[name] = gap / max(np.abs(theirs).mean(), 1e-8)
  return found


def judge(found, middle, near, far):
  """Says how well losses agree.

  Args:
    found: of `gaps`, from the start on.
    middle: the same, from the middle on.
    near: largest difference of the first updates.
    far: of all others.
  """
  worst = np.max(list(found.values()), 0)
  later = np.max(list(middle.values()), 0)
  # Written as these, comparisons with NaN fail.
  apart = np.flatnonzero(~(worst <= near))
  close = (worst[:NEAR] <= near).all() and (later[:NEAR] <= near).all()
  return {
      'equal': bool(close and (worst <= far).all()), 'near': near, 'far': far,
      'updates': len(worst),
      'updates_near': int(apart[0]) if len(apart) else len(worst),
      'largest_while_near': shorten(
          worst[:apart[0]] if len(apart) else worst),
      'largest_from_the_middle': shorten(later),
      'largest': {name: shorten(x) for name, x in found.items()},
      'by_update': [shorten(x) for x in worst]}


def shorten(values):
  """Returns the largest value with two digits, 0 of none."""
  return float(f'{np.max(values, initial=0):.1e}')


if __name__ == '__main__':
  sys.exit(main())
