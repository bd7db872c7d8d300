"""What a run leaves for people: summary, table and figures."""

import json
import platform
import sys

from coworld_tf import evaluate
from coworld_tf.analysis import plots
from dreamerv2_base import files

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
    'B: reward alignment': {
        'eta': 'source/eta', 'relabel error': 'source/relabel_error'},
    'C: values of target states': {
        'target critic': 'target/critic',
        'source critic': 'target/peer_critic'},
    'C: share of active states': {
        'constraint active': 'target/constraint_active'},
}


def finish(config, logdir, target_replay, counts):
  """Writes summary.json, curves.png and returns.png.

  Args:
    config: configuration of the run.
    logdir: its directory, which holds evaluations.jsonl and metrics.jsonl.
    target_replay: the offline dataset, or None.
    counts: numbers to add to the summary.

  Returns:
    The summary, a dict.
  """
  lines = (logdir / 'evaluations.jsonl').read_text().splitlines()
  # A later line of the same policy replaces an earlier one.
  last = {record['policy']: record for record in map(json.loads, lines)}
  returns = {}
  if 'random' in last:
    returns['random'] = statistics(last['random'])
  if target_replay:
    stats = target_replay.stats
    returns['dataset'] = {
        'mean': stats['return_mean'], 'stderr': stats['return_stderr'],
        'episodes': stats['episodes']}
  domain = 'target' if target_replay else 'source'
  returns[domain] = statistics(last[domain])
  keys = ('source_task', 'target_task', 'offline_dir') if target_replay else (
      'task',)
  summary = {
      'method': config.method, **{key: config[key] for key in keys},
      'seed': config.seed, 'returns': returns, **counts,
      'python': platform.python_version(),
      'tensorflow': sys.modules['tensorflow'].__version__}
  with files.replacing(logdir / 'summary.json') as temporary:
    temporary.write_text(json.dumps(summary, indent=2) + '\n')
  groups = {title: dict(lines) for title, lines in CURVES.items()}
  for name, entry in returns.items():
    if name != domain:
      groups['Return in the target'][name] = entry['mean']
  plots.curves(logdir, logdir / 'curves.png', groups)
  plots.returns_bar(returns, logdir / 'returns.png')
  return summary


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
  return '\n'.join(lines)
