"""What a run leaves for people: summary, table and figures."""

import json
import pathlib
import platform
import sys

from coworld_tf import cli, evaluate, evaluations, inputs
from coworld_tf.analysis import plots, records
from dreamerv2_base import episodes, files

CURVES = {
    'Return in the target': {'target policy': 'target/return'},
    'Return in the source': {'source policy': 'source/return'},
    'Share of successful episodes': {
        'source policy': 'source/success', 'target policy': 'target/success'},
    'Image loss': {
        'source': 'source/image_loss', 'target': 'target/image_loss'},
    'Reward loss': {
        'source': 'source/reward_loss', 'target': 'target/reward_loss'},
    'KL of posterior and prior': {
        'source': 'source/kl', 'target': 'target/kl'},
    'A: alignment KL': {'target encoder': 'target/align_kl'},
    'Distance of the sources': {},
    'B: reward alignment': {
        'eta': 'source/eta', 'relabel error': 'source/relabel_error'},
    'C: values of target states': {
        'target critic': 'target/critic',
        'source critic': 'target/peer_critic'},
    'C: share of active states': {
        'constraint active': 'target/constraint_active'},
    'Disagreement of the ensemble': {
        'imagined from target data': 'target/disagreement'},
    'Pull of the anchors': {
        'model': 'target/ewc_model', 'actor': 'target/ewc_actor'},
}


def finish(config, logdir, learner, target_replay, counts):
  """Writes summary.json, curves.png and returns.png.

  Args:
    config: configuration of the run.
    logdir: its directory, which holds evaluations.jsonl and metrics.jsonl.
    learner: what was trained.
    target_replay: the offline dataset, or None.
    counts: numbers to add to the summary.

  Returns:
    The summary, a dict.

  Raises:
    cli.Fault: evaluations.jsonl has lost its end.
  """
  last = evaluations.last(logdir)
  returns = {}
  if 'random' in last:
    returns['random'] = statistics(last['random'])
  if target_replay:
    stats = target_replay.stats
    returns['dataset'] = {
        'mean': stats['return_mean'], 'stderr': stats['return_stderr'],
        'episodes': stats['episodes']}
  domain = 'target' if target_replay else 'source'
  if domain not in last:
    raise cli.Fault(
        f'{logdir / evaluations.NAME}: the last evaluation is missing; start '
        'in another --logdir')
  returns[domain] = statistics(last[domain])
  flat, keys = config.flat(), inputs.task_keys(config)
  summary = {
      'method': config.method,
      **{key: flat[key] for key in keys if key != 'logdir'},
      'seed': config.seed, 'returns': returns, **counts,
      'python': platform.python_version(),
      'tensorflow': sys.modules['tensorflow'].__version__}
  if target_replay:
    summary['dataset'] = dataset_facts(config.offline_dir)
  tasks = inputs.source_tasks(config)
  if len(tasks) > 1:
    summary['sources'] = chosen(tasks, learner)
  with files.replacing(logdir / 'summary.json') as temporary:
    temporary.write_text(json.dumps(summary, indent=2) + '\n')
  groups = panels(tasks)
  for name, entry in returns.items():
    if name != domain:
      groups['Return in the target'][name] = entry['mean']
  plots.curves(logdir, logdir / 'curves.png', groups)
  plots.returns_bar(returns, logdir / 'returns.png')
  return summary


def chosen(tasks, learner):
  """Returns which of several sources was used, and why.

  Args:
    tasks: of the sources.
    learner: sources.MultiSource.
  """
  table = lambda values: dict(zip(tasks, values.numpy().tolist(), strict=True))
  return {
      'selected': tasks[int(learner.selected)],
      'times_chosen': table(learner.choices),
      'distances': table(learner.last_distances)}


def dataset_facts(directory):
  """Returns what comparisons need of a dataset, nothing if it is unknown."""
  try:
    metadata = episodes.read_metadata(pathlib.Path(directory).expanduser())
  except (OSError, ValueError):
    # Nothing that a finished training should fail for.
    return {}
  return records.dataset_facts(metadata)


def panels(tasks):
  """Returns the panels of learning curves, a line for each of the sources."""
  if len(tasks) < 2:
    return {title: dict(lines) for title, lines in CURVES.items()}
  groups = {}
  for title, lines in CURVES.items():
    group = groups[title] = {}
    for label, metric in lines.items():
      if not metric.startswith('source/'):
        group[label] = metric
        continue
      for index, task in enumerate(tasks):
        group[f'{label} {task}'] = metric.replace('/', f'_{index}/', 1)
  groups['Distance of the sources'] = {
      task: f'target/distance_{index}' for index, task in enumerate(tasks)}
  return groups


def statistics(record):
  """Returns the statistics of a line of evaluations.jsonl."""
  return evaluate.statistics(record['returns'], record.get('successes', ()))


def table(summary):
  """Returns the summary's returns as lines of text."""
  entries = summary['returns'].values()
  known = any('success' in entry for entry in entries)
  lines = [f"{'return of':<10}{'mean':>9}{'std. error':>12}{'episodes':>10}"
           + known * f"{'success':>9}"]
  for name, entry in summary['returns'].items():
    line = (f"{name:<10}{entry['mean']:>9.1f}{entry['stderr']:>12.1f}"
            f"{entry['episodes']:>10d}")
    if 'success' in entry:
      line += f"{entry['success']:>9.0%}"
    lines.append(line)
  if 'sources' in summary:
    lines.append(f"source: {summary['sources']['selected']}, nearest of "
                 + ', '.join(
                     f'{task} ({distance:.3g} nats)' for task, distance
                     in summary['sources']['distances'].items()))
  return '\n'.join(lines)
