"""Reads what finished runs left behind, to compare them."""

import dataclasses
import pathlib
import typing

from coworld_tf import inputs
from coworld_tf.analysis import records, variants
from dreamerv2_base import config as configs
from dreamerv2_base import episodes

WITH_SOURCE = tuple(
    method for method, (source, _) in inputs.METHODS.items()
    if source == 'source_task')
# Settings of simulators that results depend on.
SIMULATOR = inputs.SETTINGS
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
    facts: {'policy', 's_max'} of the dataset, as far as they are known.
    references: {'random' or 'dataset': {'mean', 'episodes'}}.
    spent: {'source_frames', 'source_updates', 'target_updates', 'seconds'}
      of the training, without what is not known.
    returns, successes: of the evaluated episodes.
    settings: of the evaluation.
    origin: 'evaluate' (the program) or 'training' (its last evaluation).
    aside: what is said of scores that are not used, '' without such.
    curve: [(step of all logs, updates of the agent or None, mean return)].
    video: GIF of the first episode of the evaluation, or None.
  """
  path: pathlib.Path
  config: dict
  label: str
  source: str
  target: str
  dataset: dict
  facts: dict
  references: dict
  spent: dict
  returns: list
  successes: list
  settings: dict
  origin: str
  aside: str
  curve: list
  video: pathlib.Path | None

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
    return self.facts.get('policy', '')

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
  domain = 'source' if alone else 'target'
  target = config['task' if alone else 'target_task']
  summary = _summary(path / 'summary.json')
  spent = _spent(summary, path / 'summary.json')
  evaluations = [
      record for record in records.read_evaluations(
          path / 'evaluations.jsonl') if record['policy'] == domain]
  if not evaluations:
    raise ValueError(
        f"{path / 'evaluations.jsonl'}: no evaluation of the trained policy")
  scores, aside = _evaluated(path, target, spent.get(f'{domain}_updates'))
  settings = _settings(config, scores or evaluations[-1])
  video = _video(path, scores, evaluations[-1])
  metadata = {} if alone else _metadata(config['offline_dir'])
  facts = _facts(path, summary, metadata)
  origin = 'evaluate' if scores else 'training'
  scores = scores or evaluations[-1]
  return Run(
      path, config, variants.name(config),
      config['source_task'] if config['method'] in WITH_SOURCE else '',
      target, metadata, facts,
      {name: entry for name, entry in summary['returns'].items()
       if name in ('random', 'dataset')},
      spent, [float(x) for x in scores['returns']],
      scores.get('successes') or [], settings, origin, aside,
      _curve(evaluations, f'{domain}_updates'), video)


def _summary(path):
  """What summary.json holds, checked."""
  summary = records.read(path, {'returns': dict})
  if 'dataset' in summary:
    records.check(summary, {'dataset': dict}, path)
  for name in ('random', 'dataset'):
    if name in summary['returns']:
      where = f"{path}: '{name}' of 'returns'"
      records.check(summary['returns'], {name: dict}, f"{path}: 'returns'")
      records.check(
          summary['returns'][name], {'mean': float, 'episodes': int}, where)
  return summary


def _spent(summary, path):
  """Frames, updates and seconds of a training; sources are added up."""
  counts = {
      key: value for key, value in summary.items()
      if key in ('source_frames', 'seconds') or key.endswith('_updates')}
  records.check(counts, dict.fromkeys(counts, float), path)
  spent = {}
  for key, value in counts.items():
    # With several sources: source_0_updates and so on.
    if key.startswith('source_') and key.endswith('_updates'):
      key = 'source_updates'
    spent[key] = spent.get(key, 0) + value
  return spent


def _evaluated(path, task, updates):
  """(content of evaluation.json or None, why there is one left aside)."""
  file = path / 'evaluation' / 'evaluation.json'
  if not file.exists():
    return None, ''
  scores = records.read(file, {
      'task': str, 'updates': int, 'seed': int, 'envs': int, 'returns': list,
      'settings': dict})
  records.check_episodes(scores, file)
  if scores['task'] != task:
    return None, f'scores of another task left aside: {file}'
  if scores['updates'] != updates:
    return None, f'scores of an earlier checkpoint left aside: {file}'
  return scores, ''


def _settings(config, scores):
  """Settings of the evaluation that gave the scores."""
  settings = {key: config[key] for key in SIMULATOR if key in config}
  if 'settings' in scores:
    settings |= {
        key: scores['settings'][key] for key in SIMULATOR
        if key in scores['settings']}
    # Those of the training follow from its own seed.
    settings['seed of the simulators'] = scores['seed']
  settings['envs'] = scores.get('envs', config['evaluation.envs'])
  settings['episodes'] = len(scores['returns'])
  return settings


def _video(path, scores, last):
  """The first episode of the evaluation, None if it was not filmed."""
  video = path / 'videos' / f'{last["policy"]}_episode-{last["step"]}.gif'
  if scores:
    name = f'episode-0-{scores["updates"]}.gif'
    video = path / 'evaluation' / 'videos' / name
    # An earlier evaluation with other seeds may have left one.
    if not scores.get('videos', 1):
      return None
  return video if video.exists() else None


def _facts(path, summary, metadata):
  """What is known of the dataset, checked."""
  # The training knew it; a relative offline_dir may mean another one now.
  facts = summary.get('dataset', records.dataset_facts(metadata))
  kinds = {'policy': str, 's_max': float}
  records.check(
      facts, {key: kind for key, kind in kinds.items() if key in facts},
      f'{path / "summary.json"} or metadata of its dataset')
  return facts


def _metadata(directory):
  try:
    return episodes.read_metadata(pathlib.Path(directory).expanduser())
  except FileNotFoundError:
    return {}


def _curve(evaluations, key):
  """Mean returns of the evaluations, with updates where they tell them."""
  points = {
      record['step']: (
          record.get(key), sum(record['returns']) / len(record['returns']))
      for record in evaluations}
  return [(step, *point) for step, point in points.items()]
