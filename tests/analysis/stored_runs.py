"""Makes run directories as training leaves them, without training."""

import json

import imageio.v3 as imageio
import numpy as np

from dreamerv2_base import config as configs
from dreamerv2_base import episodes, flags
from tests import conftest

METADATA = {
    'task': 'dmc_walker_downhill', 'policy': 'medium_replay', 'episodes': 10,
    'seed': 0, 'action_repeat': 2, 'cut': {'s_max': 500.0}}


def write(
    path, method='coworld', seed=0, returns=(90.0, 110.0), successes=(),
    source='dmc_walker_walk', target='dmc_walker_downhill', data=None,
    override=None, finished=True, video=False):
  """Writes a run of three evaluations; the last one has the returns.

  Args:
    path: its directory, created.
    method, seed, source, target: of its configuration.
    returns, successes: of the last evaluation.
    data: directory of the offline dataset.
    override: further values of the configuration by dotted key.
    finished: whether it has a summary.
    video: whether it has a video of the last evaluation.
  """
  path.mkdir(parents=True)
  online = method == 'dreamerv2'
  config = flags.parse(['--configs', 'dmc'], conftest.CONFIGS)
  values = {
      'seed': seed, 'logdir': str(path), 'source_task': source,
      'target_task': target, 'task': target, 'offline_dir': str(data or ''),
      **(override or {})}
  config = configs.merge(config, {'method': method, **values}, 'test')
  configs.save(config, path / 'config.yaml')
  policy = 'source' if online else 'target'
  records = [] if online else [
      {'policy': 'random', 'step': 0, 'returns': [20.0 + seed, 20.0 - seed]}]
  for step, share in ((0, 0.2), (150, 0.6), (250, 1)):
    records.append({
        'policy': policy, 'step': step, 'returns': [
            share * x for x in returns], 'successes': list(successes)})
  write_lines(path / 'evaluations.jsonl', records)
  write_lines(path / 'metrics.jsonl', [
      {'step': step, f'{policy}_updates': updates, 'loss': None}
      for step, updates in ((0, 0), (100, 50), (150, 100), (250, 200))])
  if video:
    (path / 'videos').mkdir()
    frames = np.full([130, 16, 16, 3], 40 * seed + 30, np.uint8)
    frames[np.arange(130), :, np.arange(130) % 16] = 250
    imageio.imwrite(
        path / 'videos' / f'{policy}_episode-250.gif', frames, loop=0,
        plugin='pillow', duration=50)
  if finished:
    found = {policy: {'mean': sum(returns) / len(returns)}}
    if not online:
      found['random'] = {'mean': 20.0, 'stderr': 0.0, 'episodes': 2}
      found['dataset'] = {'mean': 60.0, 'stderr': 1.0, 'episodes': 10}
    (path / 'summary.json').write_text(json.dumps(
        {'method': method, 'seed': seed, 'returns': found}))
  return path


def write_data(path, **metadata):
  """Writes the metadata of a dataset."""
  path.mkdir(parents=True)
  episodes.write_metadata(path, {**METADATA, **metadata})
  return path


def write_lines(path, records):
  """Writes JSON lines."""
  path.write_text(''.join(json.dumps(x) + '\n' for x in records))
