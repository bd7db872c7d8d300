"""Reads what finished runs left behind, to compare them."""

import dataclasses
import json
import math
import pathlib
import typing

from coworld_tf.analysis import variants
from dreamerv2_base import config as configs
from dreamerv2_base import episodes

WITH_SOURCE = 'coworld', 'dv2_finetune', 'dv2_finetune_ewc'
# Settings of simulators that results depend on.
SIMULATOR = (
    'action_repeat', 'time_limit', 'size', 'camera', 'quality', 'fix_rewards')
REQUIRED = (
    'method', 'seed', 'task', 'source_task', 'target_task', 'offline_dir',
    'action_repeat', 'time_limit', 'evaluation.envs')


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """A finished run.

  Attributes:
    path: its directory, as given.
    config: configuration by dotted key.
    label: name of the method, with what sets it apart.
    source, target: tasks; no source where the method has none or several.
    dataset: metadata of its offline dataset, empty if that is gone.
    references: {'random' or 'dataset': {'mean', 'episodes'}}.
    returns, successes: of the evaluated episodes.
    settings: of the evaluation.
    origin: 'evaluate' (the program) or 'training' (its last evaluation).
    curve: [(step of all logs, updates of the agent or None, mean return)].
    video: GIF of the last evaluation while training, or None.
    video_return: return of the episode in it, or None.
  """
  path: pathlib.Path
  config: dict
  label: str
  source: str
  target: str
  dataset: dict
  references: dict
  returns: list
  successes: list
  settings: dict
  origin: str
  curve: list
  video: pathlib.Path | None
  video_return: float | None

  @property
  def method(self):
    """Name of the method without what sets this run apart."""
    return self.config['method']

  @property
  def seed(self):
    """Seed of the training."""
    return self.config['seed']

  @property
  def data(self):
    """Policy that made the dataset, '' if not known."""
    return self.dataset.get('policy', '')

  @property
  def mean(self):
    """Mean return."""
    return sum(self.returns) / len(self.returns)


class Found(typing.NamedTuple):
  """Finished runs, and directories of unfinished ones."""
  runs: list
  unfinished: list


def read_all(paths):
  """Reads runs and sets apart those of one method with other settings.

  Args:
    paths: directories of runs, or directories that hold some at any depth.

  Returns:
    Found, without repetitions.

  Raises:
    FileNotFoundError: a path does not exist or holds no runs.
    ValueError: a run is damaged or of another version, or none is finished.
  """
  directories = {}
  for path in map(pathlib.Path, paths):
    for directory in find(path.expanduser()):
      directories.setdefault(directory.resolve(), directory)
  finished = [
      path for path in directories.values()
      if (path / 'summary.json').exists()]
  unfinished = [x for x in directories.values() if x not in finished]
  if not finished:
    raise ValueError(
        f'no finished run, none has a summary.json: '
        f'{", ".join(map(str, unfinished))}')
  return Found(
      variants.set_apart([read(path) for path in finished]), unfinished)


def find(path):
  """Directories of the runs at or below a path, sorted."""
  if not path.is_dir():
    raise FileNotFoundError(f'no such run: {path}')
  if (path / 'config.yaml').exists():
    return [path]
  found = sorted(x.parent for x in path.rglob('config.yaml'))
  if not found:
    raise FileNotFoundError(
        f'{path} is no run and holds none, there is no config.yaml')
  return found


def read(path):
  """Reads one finished run.

  Raises:
    ValueError: a file is damaged or made by another version.
  """
  config = configs.Config(configs.load(path / 'config.yaml')).flat()
  for key in REQUIRED:
    if key not in config:
      raise ValueError(
          f"{path / 'config.yaml'}: there is no '{key}', the run is of "
          'another version')
  alone = config['method'] == 'dreamerv2'
  summary = _object(path / 'summary.json', ['returns'])
  records = [
      record for record in _evaluations(path / 'evaluations.jsonl')
      if record['policy'] == ('source' if alone else 'target')]
  if not records:
    raise ValueError(
        f"{path / 'evaluations.jsonl'}: no evaluation of the trained policy")
  scores, settings, origin = _scores(path, config, records)
  video = path / 'videos' / (
      f'{records[-1]["policy"]}_episode-{records[-1]["step"]}.gif')
  shown = video.exists()
  return Run(
      path, config, variants.name(config),
      config['source_task'] if config['method'] in WITH_SOURCE else '',
      config['task' if alone else 'target_task'],
      {} if alone else _metadata(config['offline_dir']),
      {name: entry for name, entry in summary['returns'].items()
       if name in ('random', 'dataset')},
      scores['returns'], scores['successes'], settings, origin,
      _curve(path, records), video if shown else None,
      records[-1]['returns'][0] if shown else None)


def read_lines(path):
  """Yields (line number, dict) of a file of JSON lines.

  Raises:
    ValueError: a line is damaged.
  """
  with path.open(encoding='utf-8', errors='replace') as file:
    for number, line in enumerate(file, 1):
      try:
        record = json.loads(line)
      except ValueError:
        record = None
      if not isinstance(record, dict):
        raise ValueError(f'{path}, line {number}: damaged, no JSON object')
      yield number, record


def _object(path, keys):
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(f'{path}: damaged, not valid JSON ({error})') from None
  missing = [
      key for key in keys if not isinstance(content, dict)
      or key not in content]
  if missing:
    raise ValueError(
        f"{path}: there is no '{missing[0]}', it is of another version")
  return content


def _evaluations(path):
  """Records of evaluations.jsonl, checked."""
  records = []
  for number, record in read_lines(path):
    where = f'{path}, line {number}'
    for key in ('policy', 'step', 'returns'):
      if key not in record:
        raise ValueError(
            f"{where}: there is no '{key}', the run is of another version")
    _check_returns(record['returns'], where)
    records.append(record)
  return records


def _check_returns(returns, where):
  numbers = isinstance(returns, list) and all(
      type(x) in (int, float) and math.isfinite(x) for x in returns)
  if not numbers or not returns:
    raise ValueError(f"{where}: 'returns' is no list of finite numbers")


def _scores(path, config, records):
  """(returns and successes, settings of the evaluation, its origin)."""
  settings = {key: config[key] for key in SIMULATOR if key in config}
  file = path / 'evaluation' / 'evaluation.json'
  if file.exists():
    scores, origin = _object(file, ['returns', 'envs', 'settings']), 'evaluate'
    _check_returns(scores['returns'], file)
    settings |= {
        key: scores['settings'][key] for key in SIMULATOR
        if key in scores['settings']}
    # Those of the training follow from its own seed.
    settings['seed of the simulators'] = scores.get('seed')
  else:
    scores, origin = records[-1], 'training'
  settings['envs'] = scores.get('envs', config['evaluation.envs'])
  settings['episodes'] = len(scores['returns'])
  scores = {
      'returns': [float(x) for x in scores['returns']],
      'successes': scores.get('successes') or []}
  return scores, settings, origin


def _metadata(directory):
  try:
    return episodes.read_metadata(pathlib.Path(directory).expanduser())
  except FileNotFoundError:
    return {}


def _curve(path, records):
  """Mean returns of the evaluations, with updates where metrics tell them."""
  key = f'{records[0]["policy"]}_updates'
  updates = {}
  if (path / 'metrics.jsonl').exists():
    updates = {
        record.get('step'): record[key]
        for _, record in read_lines(path / 'metrics.jsonl') if key in record}
  points = {
      record['step']: sum(record['returns']) / len(record['returns'])
      for record in records}
  return [(step, updates.get(step), mean) for step, mean in points.items()]
