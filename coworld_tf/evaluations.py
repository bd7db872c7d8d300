"""The record of all evaluations of a run, evaluations.jsonl."""

import json
import logging

from coworld_tf import evaluate

NAME = 'evaluations.jsonl'
LOG = logging.getLogger(__name__)


def add(logdir, logger, name, result, position):
  """Appends an evaluation to the record and shows it in the logs.

  Args:
    logdir: directory of the run.
    logger: logger.Logger of the run.
    name: of the policy: random, target, source or source_<index>.
    result: what evaluate.evaluate returned.
    position: dict that tells where in the run this was.
  """
  stats = evaluate.statistics(result['returns'], result['successes'])
  line = '  return {mean:.1f} +- {stderr:.1f}'
  if 'success' in stats:
    line += ', {success:.0%} successful'
    logger.scalar(f'{name}/success', stats['success'])
  LOG.info(line.format(**stats))
  logger.scalar(f'{name}/return', stats['mean'])
  logger.scalar(f'{name}/return_stderr', stats['stderr'])
  logger.scalar(
      f'{name}/length', sum(result['lengths']) / len(result['lengths']))
  logger.video(f'{name}/episode', result['video'])
  episodes = {key: result[key] for key in ('returns', 'lengths', 'successes')}
  with (logdir / NAME).open('a') as file:
    file.write(json.dumps({'policy': name, **position, **episodes}) + '\n')


def last(logdir):
  """Returns the last record of each policy by name."""
  lines = (logdir / NAME).read_text().splitlines()
  # A later line of the same policy replaces an earlier one.
  return {record['policy']: record for record in map(json.loads, lines)}
