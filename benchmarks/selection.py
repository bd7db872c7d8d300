"""Does the distance of Eq. 12 choose the related of several sources?

  python -m benchmarks.selection --seeds 0 1 2 3 4 5 6 7 8 9

The target and the first source are the same task with other episodes; the
other sources are other robots. For each seed the world models learn from
random episodes, each alone, with initial encoders of their own or with the
same. At several numbers of updates the source is selected as a run would.
Then the target is aligned with each source in turn, to see what that does to
the choice. Writes benchmarks/results/selection.json after every seed.
"""

import argparse
import json
import pathlib
import statistics
import sys

import numpy as np
import tensorflow as tf

from benchmarks import machine
from coworld_tf import cli, inputs, methods
from coworld_tf.datasets import collect
from coworld_tf.stages import state_alignment
from dreamerv2_base import files, flags, logger, progress, replay

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'selection.json'
TARGET = 'dmc_walker_downhill'
SOURCES = 'dmc_walker_downhill', 'dmc_cheetah_run', 'dmc_hopper_stand'
EPISODES = 8  # Of each dataset.
ALIGNED = 50  # Updates with stage A at the end.
FLAGS = (
    '--configs dmc multi_source small --precision 32 '
    f"--target_task {TARGET} --multi_source.candidates {' '.join(SOURCES)} "
    '--encoder.cnn_depth 4 --decoder.cnn_depth 4 --rssm.stoch 8 '
    '--rssm.discrete 8 --rssm.deter 64 --rssm.hidden 64 --reward_head.units '
    '64 --actor.units 64 --critic.units 64 --dataset.batch 4 '
    '--dataset.length 8 --time_limit 50 --align.reduction mean '
    '--multi_source.batches 10')
STARTS = 'own', 'same'  # Initial weights of the encoders.


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.selection',
      description=__doc__.split('\n')[0],
      formatter_class=argparse.ArgumentDefaultsHelpFormatter)
  add = parser.add_argument
  add('--seeds', type=int, nargs='+', default=list(range(10)), metavar='SEED',
      help='of episodes and weights')
  add('--updates', type=int, nargs='+', default=[50, 100, 200],
      metavar='N', help='of each world model before a selection')
  add('--data', type=pathlib.Path, default=ROOT / 'runs' / 'selection',
      metavar='DIR', help='directory of the episodes, made where they miss')
  args = parser.parse_args(argv)
  with cli.input_errors():
    if min(args.seeds) < 0 or sorted(set(args.updates)) != args.updates:
      raise ValueError('--seeds are not negative, --updates rise')
  config = make_config()
  numbers = lambda values: ' '.join(map(str, values))
  result = {
      'command': 'python -m benchmarks.selection --seeds '
                 f'{numbers(args.seeds)} --updates {numbers(args.updates)}',
      'machine': machine.facts(), 'target': TARGET, 'sources': SOURCES,
      'flags': FLAGS, 'runs': []}
  images, actions = methods.spaces(config)
  learner = make_learner(config, images, actions)
  logger.setup_terminal()
  bar = progress.Progress(
      len(args.seeds) * len(STARTS) * args.updates[-1], 'selection')
  for seed in args.seeds:
    data = collect_data(config, args.data, seed)
    for name in STARTS:
      # Assigned instead of built anew, so that graphs are compiled once.
      fresh = make_learner(make_config(seed), images, actions)
      if name == 'same':
        for source in fresh.sources:
          copy(fresh.target.wm.encoder, source.wm.encoder)
      copy(fresh, learner)
      result['runs'].append({
          'seed': seed, 'encoders': name,
          **run(config, learner, data, seed, args.updates, bar)})
    result['summary'] = summarize(result['runs'])
    RESULTS.parent.mkdir(exist_ok=True)
    with files.replacing(RESULTS) as temporary:
      temporary.write_text(json.dumps(result, indent=1) + '\n')
  bar.close()
  print(table(result['summary']))
  return 0


def make_config(seed=0):
  """Parses the flags for a seed."""
  return flags.parse([*FLAGS.split(), '--seed', str(seed)], ROOT / 'configs')


def make_learner(config, images, actions):
  """Builds several sources and a target as a run does."""
  *sources, target = [
      methods.make_agent(config, images, space, (index + 1) % len(actions))
      for index, space in enumerate(actions)]
  return methods.make_learner(
      config, sources, target, list(methods.make_blocks(config)))


def copy(module, other):
  """Gives the variables of a module to another of the same structure."""
  for ours, theirs in zip(module.variables, other.variables, strict=True):
    theirs.assign(ours)


def collect_data(config, directory, seed):
  """Collects random episodes of all sources, then of the target.

  Returns:
    List of replay.Replay.
  """
  steps, data = EPISODES * config.time_limit * config.action_repeat, []
  for index, task in enumerate([*SOURCES, TARGET]):
    out = directory / f'{seed}-{index}'
    arguments = {
        'task': task, 'steps': steps, 'out': out, 'seed': 10 * seed + index,
        'envs': 1,
        **{key: config[key] for key in inputs.SETTINGS
           if config[key] not in ('', False)}}
    status = collect.main(
        [f'--{key}={value}' for key, value in arguments.items()])
    if status:
      raise SystemExit(status)
    data.append(replay.Replay(out))
  return data


def run(config, learner, data, seed, updates, bar):
  """Trains all world models alone, selects, and aligns with each source."""
  agents, stages = [*learner.sources, learner.target], []
  size = config.dataset.batch, config.dataset.length
  streams = [
      iter(x.dataset(*size, [seed, i], 0, 2)) for i, x in enumerate(data)]
  batches = [
      data[-1].sample(*size, np.random.default_rng([seed, i]))
      for i in range(config.multi_source.batches)]
  for count in updates:
    while int(learner.target.updates) < count:
      for agent, stream in zip(agents, streams, strict=True):
        metrics = agent.train_model(next(stream))
      bar.update()
    stages.append({
        'updates': count, **look(learner, batches),
        'target_image_loss': round(float(metrics['image_loss']), 2)})
  return {'stages': stages, 'aligned': align(learner, streams[-1], batches)}


def look(learner, batches):
  """Selects a source, and says of all what their distances consist of.

  Args:
    learner: sources.MultiSource.
    batches: list of dicts of [B, L, ...] of the target.

  Returns:
    Dict of the index selected and of a list over sources each: distance; the
    spread (variance over features) of their embeddings and the covariance
    with that of the target, in the mean over images; distances after
    centring and standardizing each feature over images.
  """
  metrics = learner.select(batches)
  count = len(learner.sources)
  images = {
      key: np.concatenate([batch[key] for batch in batches])
      for key in batches[0]}
  obs = learner.target.wm.preprocess(
      {key: tf.constant(value) for key, value in images.items()})
  *peers, ours = [
      agent.wm.encoder(obs) for agent in [*learner.sources, learner.target]]
  centred = [x - tf.reduce_mean(x, [0, 1]) for x in [*peers, ours]]
  standard = [x / (tf.math.reduce_std(x, [0, 1]) + 1e-6) for x in centred]
  listed = lambda values: [float(f'{float(x):.4g}') for x in values]
  distances = lambda embeds: listed(
      state_alignment.distances(embeds[-1], embeds[:-1], 'mean'))
  return {
      'selected': int(learner.selected),
      'distance': listed(metrics[f'distance_{i}'] for i in range(count)),
      'spread': listed(covariance(x, x) for x in peers),
      'target_spread': listed([covariance(ours, ours)])[0],
      'covariance': listed(covariance(x, ours) for x in peers),
      'centred': distances(centred), 'standardized': distances(standard)}


def covariance(x, y):
  """Covariance over features [..., E] in the mean over all images."""
  x, y = (z - tf.reduce_mean(z, -1, keepdims=True) for z in (x, y))
  return tf.reduce_mean(x * y)


def align(learner, stream, batches):
  """Aligns the target with each source, always from the same state.

  Returns:
    List over sources of the distances and the selection afterwards.
  """
  before = [tf.identity(x) for x in learner.target.variables]
  found = []
  for pair in learner.pairs:
    for _ in range(ALIGNED):
      pair.train_target_model(next(stream))
    seen = look(learner, batches)
    found.append({key: seen[key] for key in ('selected', 'distance')})
    for variable, value in zip(learner.target.variables, before, strict=True):
      variable.assign(value)
  return found


def summarize(runs):
  """Counts over seeds, for each start of the encoders and each update."""
  summary = []
  for name in STARTS:
    chosen = [entry for entry in runs if entry['encoders'] == name]
    for stages in zip(*[entry['stages'] for entry in chosen], strict=True):
      summary.append({'encoders': name, **describe(stages)})
    followed = [
        aligned['selected'] == index
        for entry in chosen for index, aligned in enumerate(entry['aligned'])]
    summary.append({
        'encoders': name, 'alignments': len(followed),
        'then_selected': sum(followed)})
  return summary


def describe(stages):
  """Summarizes one number of updates over seeds."""
  mean = lambda key: [
      round(statistics.mean(values), 4)
      for values in zip(*[stage[key] for stage in stages], strict=True)]
  first = lambda key: sum(np.argmin(stage[key]) == 0 for stage in stages)
  pairs = [
      (distance, spread, spread + stage['target_spread'] - 2 * covariance)
      for stage in stages for distance, spread, covariance in zip(
          stage['distance'], stage['spread'], stage['covariance'],
          strict=True)]
  matrix = np.corrcoef(np.array(pairs).T)
  smallest = sum(
      np.argmin(stage['spread']) == stage['selected'] for stage in stages)
  return {
      'updates': stages[0]['updates'], 'seeds': len(stages),
      'related_selected': sum(stage['selected'] == 0 for stage in stages),
      'smallest_spread_selected': int(smallest),
      'related_centred': int(first('centred')),
      'related_standardized': int(first('standardized')),
      'related_correlated_most': sum(
          np.argmax(np.divide(x['covariance'], np.sqrt(x['spread']))) == 0
          for x in stages).item(),
      'distance': mean('distance'), 'spread': mean('spread'),
      'covariance': mean('covariance'),
      # Of the distance with the spread, and with the variance of the
      # difference of both embeddings, whose half it nearly is.
      'correlation_spread': round(float(matrix[0, 1]), 3),
      'correlation_difference': round(float(matrix[0, 2]), 3)}


def table(summary):
  """Returns the summary as a Markdown table."""
  lines = [
      '| initial encoders | updates | related selected | smallest spread '
      'selected | mean distances | mean spreads |', '|---' * 6 + '|']
  for entry in summary:
    if 'updates' not in entry:
      continue
    numbers = lambda key, entry=entry: ', '.join(
        f'{value:.3g}' for value in entry[key])
    lines.append('| ' + ' | '.join(map(str, [
        entry['encoders'], entry['updates'],
        f"{entry['related_selected']} of {entry['seeds']}",
        f"{entry['smallest_spread_selected']} of {entry['seeds']}",
        numbers('distance'), numbers('spread')])) + ' |')
  return '\n'.join(lines)


if __name__ == '__main__':
  sys.exit(main())
