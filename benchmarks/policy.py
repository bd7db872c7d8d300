"""What an action costs: the agent, its exported forms, and the bare products.

  python -m benchmarks.policy

A fresh agent acts on noise, as part of this process and in each form that it
can be exported to. The floor is the matrix products of a step, encoder, GRU,
dense layers and actor, and nothing else. All take turns, so that what else the
machine does slows them alike, and ratios are taken within each round. Writes
benchmarks/results/policy.json.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import gymnasium
import numpy as np
import tensorflow as tf
from ai_edge_litert import interpreter

from benchmarks import machine
from coworld_tf import cli
from coworld_tf.export import policy, tflite
from dreamerv2_base import (
  agent,
  convolutions,
  files,
  flags,
  logger,
  progress,
)
from dreamerv2_base import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'policy.json'
ACTIONS = gymnasium.spaces.Box(-1, 1, (6,), np.float32)
FLOOR = 'bare products'
# What is allowed to the SavedModel, {batch: limit}; the second is a median.
RATIOS, MICROSECONDS = {64: 1.5}, {1: 5000}


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.policy', description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  add = parser.add_argument
  add('--configs', nargs='*', default=[], metavar='NAME',
      help="overlays that set the size; none for the paper's")
  add('--batches', type=int, nargs='+', default=[1, 64], metavar='N',
      help='observations per call')
  add('--rounds', type=int, default=20, help='turns that each takes')
  add('--seconds', type=float, default=0.2, help='least length of a turn')
  args = parser.parse_args(argv)
  with cli.input_errors():
    if min(args.rounds, *args.batches) < 1 or not args.seconds > 0:
      raise ValueError('--rounds, --batches and --seconds must be positive')
    overlays = ['--configs', *args.configs] if args.configs else []
    # TFLite has no other precision.
    config = flags.parse([*overlays, '--precision', '32'], ROOT / 'configs')
  logger.setup_terminal()
  words = sys.argv[1:] if argv is None else argv
  result = {
      'command': ' '.join(['python -m benchmarks.policy', *words]),
      'machine': {
          **machine.facts(), 'load': os.getloadavg()[0], 'threads': threads()},
      'batches': measure(config, args.batches, args.rounds, args.seconds)}
  RESULTS.parent.mkdir(exist_ok=True)
  with files.replacing(RESULTS) as temporary:
    temporary.write_text(json.dumps(result, indent=2) + '\n')
  print(table(result['batches']))
  for line in misses(result['batches']):
    print(line)
  return 0


def threads():
  """Returns how many threads TensorFlow uses, unless told otherwise."""
  return len(os.sched_getaffinity(0))


def measure(config, batches, rounds, seconds):
  """Returns {batch: {contender: row}}.

  In a row, per call: median and least microseconds, those of processors, all
  cores together, and the ratios of the first and of the last to the bare
  products.
  """
  images = gymnasium.spaces.Box(0, 255, (config.size,) * 2 + (3,), np.uint8)
  live, eager = [
      agent.Agent(
          configs.merge(config, {'compile': mode}, 'benchmark'),
          {'image': images}, ACTIONS) for mode in ('graph', 'eager')]
  exported, results = policy.Policy(live, images, ACTIONS), {}
  with tempfile.TemporaryDirectory() as directory:
    signatures = exported.signatures()
    tf.saved_model.save(exported.module(), directory, {
        key: signatures[key] for key in tflite.SIGNATURES})
    loaded = tf.saved_model.load(directory)
    tflite.write(pathlib.Path(directory))
    # Told how many threads, as it would take one.
    lite = interpreter.Interpreter(
        os.path.join(directory, tflite.NAME), num_threads=threads())
  for batch in batches:
    image = np.random.default_rng(0).integers(
        0, 256, (batch, *images.shape), np.uint8)
    contenders = {
        'live, eager': act_live(eager, image),
        'live, tf.function': act_live(live, image),
        'SavedModel': act_saved(loaded.signatures, image),
        'TFLite': act_lite(lite, image),
        FLOOR: products(live, batch)}
    results[batch] = judge(time_all(contenders, rounds, seconds, batch))
  return results


def act_live(player, image):
  """Returns a function that makes a step with an agent."""
  first, seed = tf.zeros([len(image)], tf.bool), tf.zeros([2], tf.int32)
  state = player.initial(len(image))

  def step():
    obs = {'image': tf.constant(image), 'is_first': first}
    return player.policy(obs, state, seed, 'mode')[0]
  return step


def act_saved(signatures, image):
  """Returns a function that makes a step with a loaded SavedModel."""
  serve, first = signatures['serving_default'], tf.zeros([len(image)], tf.bool)
  state = signatures['initial_state'](batch=tf.constant(len(image)))

  def step():
    inputs = {'image': tf.constant(image), 'is_first': first, **state}
    return serve(**inputs)['action']
  return step


def act_lite(lite, image):
  """Returns a function that makes a step with a TFLite interpreter."""
  runner = lite.get_signature_runner('serving_default')
  inputs = {
      key: np.zeros([len(image), *x['shape_signature'][1:]], x['dtype'])
      for key, x in runner.get_input_details().items()}
  return lambda: runner(**{**inputs, 'image': image})['action']


def products(player, batch):
  """Returns a function that does the matrix products of a step alone.

  Each takes what the one before gave, as far as its width allows.
  """
  rssm, encoder, actor = player.wm.rssm, player.wm.encoder, player.ac.actor
  # Read and cast here, as that is no product.
  value = lambda layer: tf.cast(layer.kernel, rssm.dtype)
  convs = [value(layer) for layer in encoder.convs]
  enter, cell, out, dist = map(
      value, [rssm.img_in, rssm.cell.layer, rssm.obs_out, rssm.obs_dist])
  head = [value(layer) for layer in [*actor.stack.layers, actor.out.mean]]
  size, flat = player.config.size, rssm.feat_size - rssm.deter
  image = tf.ones([batch, size, size, 3], rssm.dtype)
  deter = tf.ones([batch, rssm.deter], rssm.dtype)
  stoch = tf.ones([batch, flat + player.action_size], rssm.dtype)

  @tf.function(autograph=False)
  def step(image, deter, stoch):
    for kernel in convs:
      image = convolutions.conv(image, kernel)
    embed = tf.reshape(image, [batch, -1])
    parts = tf.concat([stoch @ enter, deter], -1) @ cell
    deter = parts[:, :rssm.deter]
    stoch = (tf.concat([deter, embed], -1) @ out @ dist)[:, :flat]
    x = tf.concat([stoch, deter], -1)
    for kernel in head:
      x = x @ kernel
    return x
  return lambda: step(image, deter, stoch)


def time_all(contenders, rounds, seconds, batch):
  """Returns {contender: list over rounds of `turn`}."""
  calls, turns = {}, {name: [] for name in contenders}
  for name, step in contenders.items():
    step()  # Compiles.
    calls[name] = max(3, int(seconds / turn(step, 1)[0]))
  bar = progress.Progress(rounds, f'batch {batch}', unit='round')
  for _ in range(rounds):
    for name, step in contenders.items():
      turns[name].append(turn(step, calls[name]))
    bar.update()
  bar.close()
  return turns


def turn(step, calls):
  """Returns median and least seconds of calls, and seconds of processors.

  From images to actions as arrays; the state stays as it is.
  """
  cpu, seconds = time.process_time(), []
  for _ in range(calls):
    start = time.perf_counter()
    np.asarray(step())
    seconds.append(time.perf_counter() - start)
  cpu = (time.process_time() - cpu) / calls
  return statistics.median(seconds), min(seconds), cpu


def judge(turns):
  """Returns what `measure` does for one size of batches."""
  rows = {}
  for name, values in turns.items():
    median, least, cpu = zip(*values, strict=True)
    floor, _, floor_cpu = zip(*turns[FLOOR], strict=True)
    micro = lambda seconds: round(1e6 * seconds, 1)
    rows[name] = {
        'microseconds': micro(statistics.median(median)),
        'least': micro(min(least)), 'cpu': micro(statistics.median(cpu)),
        'ratio': ratio(median, floor), 'cpu_ratio': ratio(cpu, floor_cpu)}
  return rows


def ratio(above, below):
  """Returns the median over rounds of a ratio."""
  pairs = zip(above, below, strict=True)
  return round(statistics.median(x / y for x, y in pairs), 2)


def table(batches):
  """Returns the measurements as a Markdown table."""
  lines = [
      '| batch | | us per action | us per call | least | processors '
      '| / bare products | processors |', '|---|---|---|---|---|---|---|---|']
  for batch, rows in batches.items():
    for name, row in rows.items():
      times = row['microseconds'] / batch, *[
          row[key] for key in ('microseconds', 'least', 'cpu')]
      cells = [
          batch, name, *[f'{x:,.0f}' for x in times], row['ratio'],
          row['cpu_ratio']]
      lines.append(f"| {' | '.join(map(str, cells))} |")
  return '\n'.join(lines)


def misses(batches):
  """Returns a line for each target that the SavedModel misses."""
  lines = []
  for batch, rows in batches.items():
    row = rows['SavedModel']
    if row['ratio'] > RATIOS.get(batch, np.inf):
      lines.append(
          f"batch {batch}: SavedModel takes {row['ratio']} times the bare "
          f'products, not at most {RATIOS[batch]}')
    if row['microseconds'] > MICROSECONDS.get(batch, np.inf):
      lines.append(
          f"batch {batch}: SavedModel takes {row['microseconds']} us, not at "
          f'most {MICROSECONDS[batch]}')
  return lines


if __name__ == '__main__':
  sys.exit(main())
