"""What pages say of single runs, and how figures show them."""

import json

import pytest

from coworld_tf import compare
from coworld_tf.analysis import comparison, comparison_plots, page, runs
from tests.analysis import reader, stored_runs


def written(folder, *paths):
  """Text of the page on runs, without what they are."""
  assert compare.main([
      '--runs', *map(str, paths), '--out', str(folder / 'out')]) == 0
  shown = reader.Page((folder / 'out' / page.HTML).read_text())
  assert not shown.open
  return shown


@pytest.mark.parametrize('length', [0, 119, 126, 3000])
def test_damaged_video_is_left_out(tmp_path, length):
  paths = [
      stored_runs.write(tmp_path / name, name, video=True)
      for name in ('coworld', 'dv2_finetune')]
  video = paths[0] / 'videos' / 'target_episode-250.gif'
  video.write_bytes(video.read_bytes()[:length])
  shown = written(tmp_path, *paths)
  assert f'left out: {video}: no readable video' in shown.text
  assert f'left out: {video}' in (tmp_path / 'out' / page.MARKDOWN).read_text()
  assert sum(x.startswith('data:image/gif') for x in shown.addresses) == 1


def test_video_of_the_evaluation(tmp_path):
  path = stored_runs.write(tmp_path / 'run', video=True)
  stored_runs.write_evaluation(path, (7.0, 8.0))
  stored_runs.write_video(path / 'evaluation' / 'videos' / 'episode-0-200.gif')
  assert 'coworld seed 0, return 7.0' in written(tmp_path, path).text


def test_scores_left_aside_are_told(tmp_path):
  path = stored_runs.write(tmp_path / 'run')
  stored_runs.write_evaluation(path, updates=100)
  assert 'scores of an earlier checkpoint left aside: ' + str(
      path / 'evaluation' / 'evaluation.json') in written(tmp_path, path).text


def test_runs_in_several_pairs_are_told(tmp_path):
  paths = [
      stored_runs.write(tmp_path / 'a', 'coworld'),
      stored_runs.write(tmp_path / 'b', source='dmc_walker_run')]
  words = 'the same runs in several pairs'
  assert words not in written(tmp_path, *paths).text
  for method in ('multi_source', 'offline_dv2'):
    paths.append(stored_runs.write(tmp_path / method, method))
  assert f'offline_dv2; multi_source: {words}' in written(
      tmp_path, *paths).text


def test_poor_dataset_is_told(tmp_path):
  path = stored_runs.write(tmp_path / 'a')
  assert 'Poor datasets' not in written(tmp_path, path).text
  summary = json.loads((path / 'summary.json').read_text())
  summary['returns']['dataset']['mean'] = 20.0
  stored_runs.rewrite(path / 'summary.json', **summary)
  assert (
      'the mean return of the dataset, 20, is not above that of the random '
      'policy, 20') in written(tmp_path, path).text


def test_axis_of_the_curves(tmp_path):
  names = 'coworld', 'dreamerv2'
  paths = [stored_runs.write(tmp_path / name, name) for name in names]
  def labels(*chosen):
    found = comparison.compare(runs.read_all(chosen))
    return [x.get_xlabel() for x in comparison_plots.curves(found).axes]
  assert labels(paths[0]) == ['updates on target data']
  assert labels(paths[1]) == ['updates']
  assert labels(*paths) == ['updates on target data (dreamerv2: its own)']


def test_many_methods_look_different(tmp_path):
  paths = [
      stored_runs.write(tmp_path / str(index), override={
          'coworld.k': index / 20}) for index in range(20)]
  found = comparison.compare(runs.read_all(paths))
  assert len(found.methods) == 20
  def distinct(looks):
    return len(set(looks)) == 20
  bars = comparison_plots.returns(found).legends[0].get_patches()
  assert distinct((x.get_facecolor(), x.get_hatch()) for x in bars)
  lines = comparison_plots.curves(found).axes[0].get_lines()[:20]
  assert distinct((x.get_color(), x.get_linestyle()) for x in lines)
  assert distinct((x.get_color(), x.get_marker()) for x in lines)
