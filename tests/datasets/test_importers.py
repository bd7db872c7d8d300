import json
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from coworld_tf.datasets import convert, formats, importers
from dreamerv2_base import episodes, store
from tests.datasets import sources

ROOT = pathlib.Path(__file__).parents[2]


def test_coworld(run, source, contents):
  contents[3]['is_terminal'][-1] = True
  for index, ep in enumerate(contents):
    sources.coworld(source / f'2023-{index}-999.npz', ep, success=index == 1)
  data, output = run()
  assert sources.same(data, contents)
  assert [x['success'] for x in data.episodes] == [0, 1, 0, 0]
  assert 'is_terminal made from discount (4 episodes)' in output
  assert 'reward made float32 of float64 (4 episodes)' in output
  assert 'is_last set in the last row (4 episodes)' in output
  metadata = episodes.read_metadata(data.directory)
  assert metadata['imported']['format'] == 'coworld'
  assert metadata['complete'] and metadata['episodes'] == 4
  assert metadata['steps'] == 4 + 5 + 6 + 7 and metadata['size'] == 16
  assert 'action_repeat' not in metadata and 'frames' not in metadata


def test_coworld_time_limits_are_not_terminal(run, source, contents):
  for index, ep in enumerate(contents):
    sources.coworld_robodesk(source / f'{index}.npz', ep)
  data, output = run()
  assert sources.same(data, contents)
  assert 'is_terminal corrected by discount (4 episodes)' in output
  assert 'flags made bool of uint8 (4 episodes)' in output


def test_dreamerv2(run, source, contents):
  for index, ep in enumerate(contents):
    sources.npz(source / f'2023-{index}-{len(ep["reward"]) - 1}.npz', ep)
  data, output = run('--task', 'dmc_walker_walk', '--action_repeat', '2')
  assert sources.same(data, contents)
  assert output.count('\n') == 1  # Nothing was repaired.
  metadata = episodes.read_metadata(data.directory)
  assert metadata['imported']['format'] == 'dreamerv2'
  assert metadata['task'] == 'dmc_walker_walk' and metadata['frames'] == 44
  assert [x['success'] for x in data.episodes] == [None] * 4


def test_older_versions_of_this_project(run, source, contents):
  contents = [
      {**ep, 'log_success': np.arange(len(ep['reward'])) > 5}
      for ep in contents]
  for index, ep in enumerate(contents):
    sources.npz(source / f'{index}.npz', ep)
  before = {
      'task': 'dmc_walker_downhill', 'quality': 'fast', 'action_repeat': 2,
      'camera': 1, 'seed': 3, 'policy': 'random', 'episodes': 99}
  (source / 'metadata.json').write_text(json.dumps(before))
  data, _ = run('--quality', 'exact')
  assert sources.same(data, contents)
  metadata = episodes.read_metadata(data.directory)
  expected = {**before, 'quality': 'exact', 'episodes': 4}
  assert {key: metadata[key] for key in before} == expected
  assert [x['success'] for x in data.episodes] == [0, 0, 1, 1]


def test_vd4rl(run, source, contents):
  for index, ep in enumerate(contents):
    sources.vd4rl(source / f'{index}.npz', ep)
  data, output = run()
  assert sources.same(data, contents)
  assert output.count('\n') == 1
  metadata = episodes.read_metadata(data.directory)
  assert metadata['imported']['format'] == 'vd4rl'
  assert metadata['action_repeat'] == 2


@pytest.mark.parametrize('extra, form', [
    ({}, 'vd4rl'), ({'logprob': np.zeros(7, np.float32)}, 'coworld')])
def test_right_flags_beside_a_discount(run, source, extra, form):
  ep = sources.content()
  discount = {'discount': np.ones(7, np.float32)}
  sources.npz(source / '0.npz', {**ep, **discount, **extra})
  data, output = run()
  assert sources.same(data, [ep]) and output.count('\n') == 1
  found = episodes.read_metadata(data.directory)['imported']['format']
  assert found == form


def test_vd4rl_hdf5(run, source, contents):
  sources.vd4rl_hdf5(source / 'walker_0.hdf5', contents, 2, -3)
  sources.vd4rl_hdf5(source / 'walker_1.hdf5', contents, 5, 12)
  data, output = run()
  cut = {key: value[:-3] for key, value in contents[3].items()}
  cut['is_last'] = np.arange(5) == 4
  # In the second file, all that is left of the third episode is its reset.
  assert sources.same(data, [contents[1], contents[2], cut, contents[1]])
  assert 'walker_0.hdf5: 3 rows before the first episode' in output
  assert 'walker_0.hdf5: the last episode is cut off' in output
  assert 'walker_1.hdf5: the last episode is cut off' in output
  assert 'channels first to channels last (4 episodes)' in output
  names = [x['source'] for x in data.episodes]
  assert names[:3] == [f'walker_0.hdf5:{index}' for index in range(3)]


def test_images_are_shrunk_to_area_means(run, source):
  ep = sources.content(size=84)
  ep['image'][:] = np.add.outer(
      np.arange(84), 2 * np.arange(84)).astype(np.uint8)[..., None] // 2
  sources.vd4rl_hdf5(source / 'a.hdf5', [ep])
  data, output = run('--size', '64')
  assert 'images of 84 x 84 shrunk to 64 x 64 (1 episodes)' in output
  image = data.read(data.episodes[0])['image']
  assert image.shape == (7, 64, 64, 3)
  # Pixel y covers the old rows 84 / 64 * y to 84 / 64 * (y + 1).
  fine = ep['image'].repeat(16, 1).repeat(16, 2).reshape(
      7, 64, 21, 64, 21, 3).mean((2, 4))
  assert np.abs(image - fine).max() <= 0.5 + 1e-3


@pytest.mark.parametrize('observations', [
    lambda x: {'observations': x},
    lambda x: {'observations/camera/top': sources.encoded(x, 'PNG'),
               'observations/state': np.zeros((len(x), 3))},
    lambda x: {'observations': x.transpose(0, 3, 1, 2)}])
def test_minari(run, source, contents, observations):
  contents[0]['is_terminal'][-1] = True
  sources.minari(source / 'walker-v0', contents, observations)
  data, output = run(source=source / 'walker-v0')
  assert sources.same(data, contents)
  assert 'moved to the observation they led to (4 episodes)' in output
  assert 'scaled' not in output
  form = episodes.read_metadata(data.directory)['imported']['format']
  assert form == 'minari'


def test_minari_more_than_nine_episodes_keep_their_order(run, source):
  contents = [sources.content(rows=3, seed=index) for index in range(12)]
  sources.minari(source / 'a', contents, lambda x: {'observations': x})
  data, _ = run(source=source / 'a' / 'data' / 'main_data.hdf5')
  assert sources.same(data, contents)


def test_minari_jpeg_in_equal_rows(run, source, contents):
  for ep in contents:
    ep['image'][:] = 77  # Flat, which JPEG does not change.
  flat = lambda x: {
      'observations': np.stack(list(sources.encoded(x, 'JPEG')))}
  sources.minari(source / 'a', contents, flat)
  data, _ = run(source=source / 'a')
  assert sources.same(data, contents)


def test_minari_actions_are_scaled(run, source, contents):
  space = {'type': 'Box', 'dtype': 'float32', 'shape': [2],
           'low': [-2, 0], 'high': [2, 8]}
  wide = [
      {**ep, 'action': ep['action'] * np.array([2, 4], np.float32) + [0, 4]}
      for ep in contents]
  sources.minari(source / 'a', wide, lambda x: {'observations': x}, space)
  data, output = run(source=source / 'a')
  assert 'actions scaled from their bounds' in output
  for entry, ep in zip(data.episodes, contents, strict=True):
    np.testing.assert_allclose(
        data.read(entry)['action'], ep['action'], atol=1e-6)


def test_minari_with_several_images(run, fails, source, contents):
  both = lambda x: {'observations/a': x, 'observations/b': 255 - x}
  sources.minari(source / 'a', contents, both)
  line = fails(source=source / 'a')
  assert 'several images (observations/a, observations/b)' in line
  assert '--image_key' in line
  line = fails('--image_key', 'observations/c', source=source / 'a')
  assert 'episode_0: missing: observations/c' in line
  data, _ = run('--image_key', 'observations/a', source=source / 'a')
  assert sources.same(data, contents)


def departures(ep, last):
  """Keys of an episode as on departure; `last` fills the final row."""
  moved = {'image': ep['image']}
  for key in ('action', 'reward', 'is_terminal'):
    moved[key] = np.concatenate([ep[key][1:], last * ep[key][1:2]])
  return moved


def test_user_episodes_of_departures(run, source, contents):
  contents[0]['is_terminal'][-1] = True
  for index, ep in enumerate(contents):
    short = departures(ep, 1)
    short = {'image': ep['image'], **{
        key: short[key][:-1] for key in ('action', 'reward', 'is_terminal')}}
    sources.npz(source / f'{index}.npz', short)
  data, output = run()
  assert sources.same(data, contents)
  assert 'led to (4 episodes)' in output and 'led to nothing' not in output


def test_user_episodes_of_equal_lengths(run, fails, source, contents):
  for index, ep in enumerate(contents):
    sources.npz(source / f'{index}.npz', departures(ep, 0.5))
  line = fails()
  assert '0.npz: row 0 has an action' in line
  assert '--alignment departure' in line and '--skip_faulty' in line
  data, output = run('--alignment', 'departure')
  assert sources.same(data, contents)
  assert 'last action and reward left out' in output


def test_alignment_said_to_be_of_arrivals(run, source, contents):
  for index, ep in enumerate(contents):
    wrong = {**ep, 'action': ep['action'].copy(), 'reward': ep['reward'] + 0}
    wrong['action'][0], wrong['reward'][0] = 0.3, np.nan
    sources.npz(source / f'{index}.npz', wrong)
  data, output = run('--alignment', 'arrival')
  assert sources.same(data, contents)
  assert 'action of the reset row set to 0 (4 episodes)' in output
  assert 'reward of the reset row set to 0 (4 episodes)' in output


def test_user_episodes_with_few_keys(run, source, contents):
  for index, ep in enumerate(contents):
    few = {key: ep[key] for key in ('image', 'action')}
    sources.npz(source / f'{index}.npz', {
        **few, 'reward': ep['reward'][:, None], 'speed': np.zeros(3)})
  data, output = run()
  assert sources.same(data, contents)
  assert 'is_terminal is absent: taken as a time limit' in output
  form = episodes.read_metadata(data.directory)['imported']['format']
  assert form == 'user'


def test_continues_after_a_kill(run, source):
  contents = [
      sources.content(rows=40, seed=index, size=64) for index in range(60)]
  for index, ep in enumerate(contents):
    sources.npz(source / f'{index:02d}.npz', ep)
  out = source.parent / 'out'
  process = subprocess.Popen([
      sys.executable, '-m', 'coworld_tf.datasets', 'import', str(source),
      '--out', str(out)], cwd=ROOT)
  index = out / store.INDEX
  while not index.exists() or index.read_bytes().count(b'\n') < 4:
    assert process.poll() is None
    time.sleep(0.001)
  process.kill()
  process.wait()
  assert not episodes.read_metadata(out)['complete']
  assert 3 <= len(store.Store(out).episodes) < 60
  data, _ = run()
  assert sources.same(data, contents)
  assert episodes.read_metadata(out)['complete']


def test_full_disk(run, source):
  contents = [
      sources.content(rows=10, seed=index, size=64) for index in range(9)]
  for index, ep in enumerate(contents):
    sources.npz(source / f'{index}.npz', ep)
  out = source.parent / 'out'
  # Files of five episodes; to their writer, the disk is full then.
  limit = 5 * contents[0]['image'].nbytes + 1000
  result = subprocess.run(
      [sys.executable, '-m', 'coworld_tf.datasets', 'import', str(source),
       '--out', str(out)], cwd=ROOT, capture_output=True, text=True,
      preexec_fn=lambda: resource.setrlimit(
          resource.RLIMIT_FSIZE, (limit, limit)))
  assert result.returncode == 2 and result.stdout == ''
  assert result.stderr.startswith('error: ')
  assert 'image.bin' in result.stderr and result.stderr.count('\n') == 1
  assert sources.same(store.Store(out), contents[:5])
  assert not episodes.read_metadata(out)['complete']
  assert sources.same(run()[0], contents)


def test_formats_and_alignments_are_offered():
  args = importers.parse_arguments(['a', '--out', 'b'])
  assert args.format is None and args.alignment in convert.ALIGNMENTS
  for form in formats.FORMATS:
    importers.parse_arguments(['a', '--out', 'b', '--format', form])
