"""Reading runs: scores, names, curves, and what is wrong with files."""

import pathlib

import pytest

from coworld_tf.analysis import runs
from tests.analysis import stored_runs


@pytest.fixture
def data(tmp_path):
  return stored_runs.write_data(tmp_path / 'data')


def labels(*paths):
  return [run.label for run in runs.read_all(paths).runs]


def test_run(tmp_path, data):
  path = stored_runs.write(
      tmp_path / 'a', seed=3, returns=(10.0, 30.0), successes=(True, False),
      data=data, video=True)
  run = runs.read(path)
  assert (run.method, run.label, run.seed) == ('coworld', 'coworld', 3)
  assert run.source == 'dmc_walker_walk'
  assert run.target == 'dmc_walker_downhill'
  assert run.returns == [10, 30] and run.successes == [True, False]
  assert run.mean == 20 and run.origin == 'training'
  assert run.data == 'medium_replay'
  assert run.curve == [(0, 0, 4), (150, 100, 12), (250, 200, 20)]
  assert run.video == path / 'videos' / 'target_episode-250.gif'
  assert run.spent == {
      'source_frames': 1500, 'source_updates': 50, 'target_updates': 200,
      'seconds': 5400}
  assert run.settings['episodes'] == 2 and run.settings['action_repeat'] == 2
  assert set(run.references) == {'random', 'dataset'}


def test_online_agent(tmp_path):
  run = runs.read(stored_runs.write(tmp_path / 'a', 'dreamerv2'))
  assert (run.source, run.target) == ('', 'dmc_walker_downhill')
  assert run.curve[-1] == (250, 200, 100) and run.dataset == {}


def test_curve_without_counts(tmp_path):
  path = stored_runs.write(tmp_path / 'a')
  text = (path / 'evaluations.jsonl').read_text()
  (path / 'evaluations.jsonl').write_text(
      text.replace('target_updates', 'other'))
  assert runs.read(path).curve[1] == (150, None, 60)


def test_updates_of_several_sources(tmp_path):
  path = stored_runs.write(tmp_path / 'a', 'multi_source')
  stored_runs.rewrite(
      path / 'summary.json', source_updates=0, source_0_updates=20,
      source_1_updates=30)
  assert runs.read(path).spent['source_updates'] == 50


def test_evaluation_of_the_program_is_preferred(tmp_path):
  path = stored_runs.write(tmp_path / 'a', video=True)
  stored_runs.write_evaluation(path)
  run = runs.read(path)
  assert run.returns == [1, 2, 3] and run.origin == 'evaluate'
  assert run.settings['episodes'] == 3 and run.settings['envs'] == 4
  assert run.settings['quality'] == 'fast'
  assert run.settings['action_repeat'] == 2
  assert run.settings['seed of the simulators'] == 7
  assert run.curve[-1][2] == 100 and run.aside == ''


def test_video_is_of_the_scores(tmp_path):
  path = stored_runs.write(tmp_path / 'a', video=True)
  assert runs.read(path).video == path / 'videos' / 'target_episode-250.gif'
  stored_runs.write_evaluation(path)
  assert runs.read(path).video is None
  video = path / 'evaluation' / 'videos' / 'episode-0-200.gif'
  stored_runs.write_video(video)
  assert runs.read(path).video == video
  stored_runs.write_evaluation(path, videos=0)
  assert runs.read(path).video is None


@pytest.mark.parametrize('changes, words', [
    ({'updates': 100}, 'scores of an earlier checkpoint left aside'),
    ({'task': 'dmc_walker_walk'}, 'scores of another task left aside')])
@pytest.mark.parametrize('method', ['coworld', 'dreamerv2'])
def test_scores_of_something_else(tmp_path, method, changes, words):
  path = stored_runs.write(tmp_path / 'a', method)
  stored_runs.write_evaluation(path)
  assert runs.read(path).origin == 'evaluate'
  stored_runs.write_evaluation(path, **changes)
  run = runs.read(path)
  assert run.origin == 'training' and run.mean == 100
  assert 'seed of the simulators' not in run.settings
  file = path / 'evaluation' / 'evaluation.json'
  assert run.aside == f'{words}: {file}'


def test_folders_and_repetitions(tmp_path):
  first = stored_runs.write(tmp_path / 'runs' / 'x' / 'a')
  second = stored_runs.write(tmp_path / 'runs' / 'b', seed=1, finished=False)
  found = runs.read_all([tmp_path / 'runs', first, tmp_path / 'runs' / 'x'])
  assert [run.path for run in found.runs] == [first]
  assert found.unfinished == [second]


@pytest.mark.parametrize('override, expected', [
    ({'coworld.beta2': 0.0}, 'coworld, no state alignment'),
    ({'eta.final': 1.0}, 'coworld, no reward alignment'),
    ({'coworld.alpha': 0.0}, 'coworld, no value constraint'),
    ({'coworld.constraint': 'direct'}, 'coworld, brute-force constraint'),
    ({'coworld.alpha': 0.0, 'eta.final': 1.0},
     'coworld, no reward alignment, no value constraint')])
def test_ablations_have_names(tmp_path, override, expected):
  full = stored_runs.write(tmp_path / 'full')
  part = stored_runs.write(tmp_path / 'part', override=override)
  assert labels(full, part) == ['coworld', expected]
  other = stored_runs.write(
      tmp_path / 'other', 'dreamerv2_offline', override=override)
  assert labels(other) == ['dreamerv2_offline']


def test_sweep_sets_runs_apart(tmp_path):
  paths = [
      stored_runs.write(tmp_path / f'{k}-{seed}', seed=seed, override={
          'coworld.k': k, 'log_every': seed + 1, 'evaluation.envs': seed + 1})
      for k in (0.3, 0.5) for seed in (0, 1)]
  # Another suite has other settings, and no part in the sweep.
  paths.append(stored_runs.write(
      tmp_path / 'other', target='dmc_cheetah_downhill',
      source='dmc_cheetah_run', override={
          'coworld.k': 0.3, 'coworld.alpha': 3.0}))
  paths.append(stored_runs.write(tmp_path / 'base', 'offline_dv2'))
  low, high = 'coworld, k 0.3', 'coworld, k 0.5'
  assert labels(*paths) == [low, low, high, high, low, 'offline_dv2']
  # The most frequent value needs no name.
  paths.append(stored_runs.write(
      tmp_path / 'third', seed=2, override={'coworld.k': 0.5}))
  assert labels(*paths) == [
      low, low, 'coworld', 'coworld', low, 'offline_dv2', 'coworld']


@pytest.mark.parametrize('name, line, text, message', [
    ('evaluations.jsonl', 2, '{"policy": "tar', 'line 2: damaged'),
    ('evaluations.jsonl', 3, '[1]', 'line 3: damaged'),
    ('evaluations.jsonl', 4, '{"policy": "target", "step": 1}',
     "line 4: there is no 'returns', it is of another version"),
    ('evaluations.jsonl', 4,
     '{"policy": "target", "step": 1, "returns": [NaN]}',
     "line 4: 'returns' is no list of finite numbers"),
    ('evaluations.jsonl', 4,
     '{"policy": "target", "step": 1, "returns": []}', 'line 4'),
    ('evaluations.jsonl', 4, '{"policy": "target", "step": 1, '
     '"returns": [1, 2], "successes": [true]}',
     "line 4: 'successes' is no list of 2 values"),
    ('evaluations.jsonl', 4, '{"policy": "target", "step": 1, '
     '"returns": [1], "target_updates": null}',
     "line 4: 'target_updates' is null, which is no integer"),
    ('summary.json', 1, '{"method"', 'damaged, not valid JSON'),
    ('summary.json', 1, '{"score": 3}', "no 'returns', it is of another"),
    ('summary.json', 1, '{"returns": [3]}',
     r"'returns' is \[3\], which is no object"),
    ('summary.json', 1, '{"returns": {"random": 3}}',
     "'random' is 3, which is no object"),
    ('summary.json', 1, '{"returns": {"dataset": {"mean": 1.5}}}',
     "there is no 'episodes'"),
    ('summary.json', 1, '{"returns": {"random": {"mean": "1"}}}',
     "'mean' is \"1\", which is no finite number"),
    ('summary.json', 1, '{"returns": {}, "seconds": null}',
     "'seconds' is null"),
    ('summary.json', 1, '{"returns": {}, "dataset": 3}', "'dataset' is 3"),
    ('summary.json', 1, '{"returns": {}, "dataset": {"s_max": "x"}}',
     "'s_max' is \"x\""),
    ('summary.json', 1, '[]', 'no JSON object'),
    ('config.yaml', 1, '- a', 'config.yaml')])
def test_damage_is_named(tmp_path, name, line, text, message):
  path = stored_runs.write(tmp_path / 'a')
  lines = (path / name).read_text().splitlines()
  lines[line - 1] = text
  (path / name).write_text('\n'.join(lines) + '\n')
  with pytest.raises(ValueError, match=message) as error:
    runs.read(path)
  assert name in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('changes, message', [
    ({'returns': 3}, "'returns' is 3, which is no list"),
    ({'returns': []}, "'returns' is no list of finite numbers"),
    ({'successes': [True]}, "'successes' is no list of 3 values"),
    ({'settings': None}, "'settings' is null, which is no object")])
def test_damaged_scores(tmp_path, changes, message):
  path = stored_runs.write(tmp_path / 'a')
  stored_runs.write_evaluation(path)
  stored_runs.rewrite(path / 'evaluation' / 'evaluation.json', **changes)
  with pytest.raises(ValueError, match=message) as error:
    runs.read(path)
  assert 'evaluation.json' in str(error.value)


def test_other_versions(tmp_path):
  path = stored_runs.write(tmp_path / 'a')
  config = (path / 'config.yaml').read_text().splitlines()
  (path / 'config.yaml').write_text('\n'.join(
      line for line in config if not line.startswith('target_task')))
  with pytest.raises(ValueError, match="no 'target_task'.*another version"):
    runs.read(path)


def test_nothing_to_compare(tmp_path):
  with pytest.raises(FileNotFoundError, match='no such run: .*absent'):
    runs.read_all([tmp_path / 'absent'])
  with pytest.raises(FileNotFoundError, match='is no run and holds none'):
    runs.read_all([tmp_path])
  path = stored_runs.write(tmp_path / 'a', finished=False)
  with pytest.raises(ValueError, match=f'no finished run.*{path}'):
    runs.read_all([tmp_path])


def test_paths_are_as_given(tmp_path, monkeypatch):
  stored_runs.write(tmp_path / 'a')
  monkeypatch.chdir(tmp_path)
  run, = runs.read_all(['a']).runs
  assert run.path == pathlib.Path('a')
