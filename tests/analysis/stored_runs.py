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
    override=None, finished=True, video=False, updates=200):
  """Writes a run of three evaluations; the last one has the returns.

  Args:
    path: its directory, created.
    method, seed, source, target: of its configuration.
    returns, successes: of the last evaluation.
    data: directory of the offline dataset.
    override: further values of the configuration by dotted key.
    finished: whether it has a summary.
    video: whether it has a video of the last evaluation.
    updates: of the evaluated agent.
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
  for step, share, done in ((0, 0.2, 0), (150, 0.6, 0.5), (250, 1, 1)):
    records.append({
        'policy': policy, 'step': step,
        f'{policy}_updates': int(done * updates),
        'returns': [share * x for x in returns],
        'successes': list(successes)})
  write_lines(path / 'evaluations.jsonl', records)
  if video:
    write_video(
        path / 'videos' / f'{policy}_episode-250.gif', 40 * seed + 30)
  if finished:
    found = {policy: {'mean': sum(returns) / len(returns)}}
    if not online:
      found['random'] = {'mean': 20.0, 'stderr': 0.0, 'episodes': 2}
      found['dataset'] = {'mean': 60.0, 'stderr': 1.0, 'episodes': 10}
    (path / 'summary.json').write_text(json.dumps({
        'method': method, 'seed': seed, 'returns': found,
        'source_frames': 1500, 'source_updates': 50,
        f'{policy}_updates': updates, 'seconds': 5400.0}))
  return path


def write_evaluation(path, returns=(1, 2, 3), **changes):
  """Writes what the program that evaluates the run at a path leaves."""
  folder = path / 'evaluation'
  folder.mkdir(exist_ok=True)
  (folder / 'evaluation.json').write_text(json.dumps({
      'task': 'dmc_walker_downhill', 'updates': 200, 'seed': 7, 'envs': 4,
      'videos': 1, 'settings': {'quality': 'fast'}, 'returns': list(returns),
      'lengths': [5] * len(returns), 'successes': [], **changes}))


def write_video(path, brightness=30):
  """Writes a GIF of 130 frames in which a line moves."""
  path.parent.mkdir()
  frames = np.full([130, 16, 16, 3], brightness, np.uint8)
  frames[np.arange(130), :, np.arange(130) % 16] = 250
  imageio.imwrite(path, frames, loop=0, plugin='pillow', duration=50)


def rewrite(path, **changes):
  """Changes keys of a JSON file."""
  path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def write_data(path, **metadata):
  """Writes the metadata of a dataset."""
  path.mkdir(parents=True)
  episodes.write_metadata(path, {**METADATA, **metadata})
  return path


def write_lines(path, records):
  """Writes JSON lines."""
  path.write_text(''.join(json.dumps(x) + '\n' for x in records))
