"""Figures: data preparation, files and messages."""

import json
import math

import imageio.v3 as imageio
import numpy as np
import pytest

from coworld_tf.analysis import plots


def write(path, records):
  path.write_text(''.join(json.dumps(x) + '\n' for x in records))


def test_series():
  records = [{'step': s, 'loss': v} for s, v in (
      (10, 1.0), (20, 2.0), (20, 4.0), (40, math.nan))]
  records.insert(1, {'step': 12, 'other': 5.0})
  steps, values = plots.series(records, 'loss')
  np.testing.assert_array_equal(steps, [10, 20, 40])
  np.testing.assert_array_equal(values, [1, 4, math.nan])
  assert [len(x) for x in plots.series(records, 'none')] == [0, 0]


def test_phases():
  records = [{'step': s, 'phase': p} for s, p in (
      (10, 'source'), (20, 'source'), (30, 'target'), (40, 'target'),
      (50, 'source'))]
  records.insert(2, {'step': 22, 'loss': 1.0})
  assert plots.phases(records) == [
      ('source', 0, 20), ('target', 20, 40), ('source', 40, 50)]
  assert plots.phases([{'step': 3}]) == []


@pytest.mark.parametrize('count', [1, 40, 400])
@pytest.mark.parametrize('phase', [{}, {'phase': 'target'}])
def test_curves(tmp_path, count, phase):
  write(tmp_path / 'metrics.jsonl', [
      {'step': 10 * i, 'target/loss': 1.0 / (i + 1), 'eta': None, **phase}
      for i in range(count)])
  groups = {
      'loss': {'target': 'target/loss', 'random': 0.5},
      'only a line': {'dataset': 3.0},
      'absent': {'source': 'source/loss'},
      'never finite': {'eta': 'eta'}}
  path = tmp_path / 'curves.png'
  plots.curves(tmp_path, path, groups)
  one = imageio.imread(path).shape
  plots.curves(tmp_path, path, {
      **groups, 'again': {'target': 'target/loss'}})
  assert imageio.imread(path).shape[1] == 2 * one[1]
  assert {x.name for x in tmp_path.iterdir()} == {
      'curves.png', 'metrics.jsonl'}


def test_curves_without_data(tmp_path):
  with pytest.raises(FileNotFoundError, match='metrics.jsonl'):
    plots.curves(tmp_path, tmp_path / 'x.png', {'loss': {'loss': 'loss'}})
  write(tmp_path / 'metrics.jsonl', [{'step': 1, 'kl': 2.0}])
  with pytest.raises(ValueError, match='none of the metrics to draw'):
    plots.curves(tmp_path, tmp_path / 'x.png', {'loss': {'loss': 'loss'}})


def test_bands(tmp_path):
  path = tmp_path / 'bands.png'
  values = np.random.default_rng(0).normal(size=[3, 40]).cumsum(1)
  plots.bands(np.arange(40), {
      'loss': {'here': values, 'official': values + 1},
      'value': {'here': values}}, path, 'update')
  height, width, _ = imageio.imread(path).shape
  assert width > 2 * height


def test_returns_bar(tmp_path):
  path = tmp_path / 'returns.png'
  plots.returns_bar({
      'random': {'mean': 22.5, 'stderr': 1.0},
      'dataset': {'mean': -3.0, 'stderr': 0.0},
      'target policy': {'mean': 77.0, 'stderr': 4.0}}, path)
  pixels = imageio.imread(path)[..., :3].reshape(-1, 3)
  blue = np.array([int(plots.DOMAINS['target'][i:i + 2], 16)
                   for i in (1, 3, 5)])
  assert (pixels == blue).all(-1).mean() > 0.05


def test_contact_sheet(tmp_path):
  frames = np.arange(5, dtype=np.uint8)[:, None, None, None]
  frames = np.broadcast_to(40 * frames, (5, 64, 64, 3))
  path = tmp_path / 'sheet.png'
  plots.contact_sheet(frames, path, columns=3)
  sheet = imageio.imread(path)[..., 0]
  assert sheet.shape == (2 * 134 + 6, 3 * 134 + 6)
  assert sheet[10, 10] == 0 and sheet[150, 150] == 160
  assert sheet[150, 290] == 255


@pytest.mark.parametrize('size', [160, 191])
def test_contact_sheet_keeps_pixels(tmp_path, size):
  frames = np.random.default_rng(0).integers(
      0, 256, (2, size, size, 3), np.uint8)
  path = tmp_path / 'sheet.png'
  plots.contact_sheet(frames, path, columns=1)
  sheet = imageio.imread(path)[..., :3]
  assert sheet.shape == (2 * size + 18, size + 12, 3)
  np.testing.assert_array_equal(sheet[6:-size - 12, 6:-6], frames[0])
  np.testing.assert_array_equal(sheet[-size - 6:-6, 6:-6], frames[1])


def test_titles_are_below_their_images(tmp_path):
  path = tmp_path / 'sheet.png'
  plots.contact_sheet(
      np.full((4, 160, 160, 3), 255, np.uint8), path, columns=2,
      titles=['', 'of the second', '', ''])
  written = np.argwhere(imageio.imread(path)[..., 0] < 128)
  assert len(written) > 50
  assert written[:, 0].min() >= 166 and written[:, 0].max() < 198
  assert written[:, 1].min() >= 172 and written[:, 1].max() < 332
  assert abs(written[:, 1].mean() - 252) < 10
