import json

import h5py
import numpy as np

from dreamerv2_base import episodes, store
from tests.datasets import sources


def test_dreamerv2(command, dataset, contents, tmp_path):
  out = tmp_path / 'deep' / 'npz'
  status, output, _ = command(
      'export', dataset, '--format', 'dreamerv2', '--out', out)
  assert status == 0 and f'{out}: 4 episodes, dreamerv2' in output
  assert [x.name for x in out.parent.iterdir()] == ['npz']
  paths = sorted(out.glob('*.npz'))
  for path, ep in zip(paths, contents, strict=True):
    stamp, code, transitions = path.stem.split('-')
    assert stamp[8] == 'T' and len(code) == 32 and int(code, 16) >= 0
    assert int(transitions) == len(ep['reward']) - 1
    with np.load(path) as arrays:
      assert set(arrays.files) == set(ep)
      for key, value in ep.items():
        assert arrays[key].dtype == value.dtype
        np.testing.assert_array_equal(arrays[key], value)
  assert episodes.read_metadata(out) == episodes.read_metadata(dataset)


def test_minari(command, dataset, contents, tmp_path):
  out = tmp_path / 'walker-v3'
  status, *_ = command('export', dataset, '--format', 'minari', '--out', out)
  assert status == 0
  described = json.loads((out / 'data' / 'metadata.json').read_text())
  space = json.loads(described.pop('observation_space'))
  assert np.array(space.pop('low')).shape == (16, 16, 3)
  assert np.unique(space.pop('high')) == [255]
  assert space == {'type': 'Box', 'dtype': 'uint8', 'shape': [16, 16, 3]}
  assert json.loads(described.pop('action_space')) == {
      'type': 'Box', 'dtype': 'float32', 'shape': [2], 'low': [-1, -1],
      'high': [1, 1]}
  told = json.loads(described.pop('description'))
  assert told == episodes.read_metadata(dataset)
  assert described == {
      'total_episodes': 4, 'total_steps': 22, 'data_format': 'hdf5',
      'jpeg_encoding': False, 'dataset_id': 'walker-v3',
      'minari_version': '0.5.4'}
  with h5py.File(out / 'data' / 'main_data.hdf5') as file:
    assert set(file) == {f'episode_{index}' for index in range(4)}
    for index, ep in enumerate(contents):
      group = file[f'episode_{index}']
      steps = len(ep['reward']) - 1
      assert dict(group.attrs) == {'id': index, 'total_steps': steps}
      assert not len(group['infos'])
      np.testing.assert_array_equal(group['observations'], ep['image'])
      np.testing.assert_array_equal(group['actions'], ep['action'][1:])
      np.testing.assert_array_equal(group['rewards'], ep['reward'][1:])
      assert not np.any(group['terminations'])
      over = np.array(group['truncations'])
      assert over.dtype == bool
      assert over.tolist() == [False] * (steps - 1) + [True]


def test_terminal_episodes_are_not_truncated(command, tmp_path):
  ep = sources.content()
  ep['is_terminal'][-1] = True
  directory, out = tmp_path / 'dataset', tmp_path / 'a'
  directory.mkdir()
  with store.Writer(directory) as writer:
    writer.append(ep)
  command('export', directory, '--format', 'minari', '--out', out)
  with h5py.File(out / 'data' / 'main_data.hdf5') as file:
    group = file['episode_0']
    assert np.array(group['terminations']).tolist() == [False] * 5 + [True]
    assert not np.any(group['truncations'])


def test_what_is_exported_can_be_imported(
    command, dataset, contents, tmp_path):
  for form in ('dreamerv2', 'minari'):
    out, back = tmp_path / form, tmp_path / f'{form}-back'
    command('export', dataset, '--format', form, '--out', out)
    status, output, _ = command('import', out, '--out', back)
    assert status == 0
    assert sources.same(store.Store(back), contents)
    found = episodes.read_metadata(back)
    assert found['imported']['format'] == form
    assert found.get('task') == (
        'dmc_walker_walk' if form == 'dreamerv2' else None)


def test_interrupted_export_starts_over(
    command, dataset, contents, tmp_path, monkeypatch):
  def stop(*_):
    raise KeyboardInterrupt
  for form in ('dreamerv2', 'minari'):
    out = tmp_path / form
    argv = 'export', dataset, '--format', form, '--out', out
    with monkeypatch.context() as patch:
      patch.setattr(episodes, 'write_metadata', stop)
      status, output, errors = command(*argv)
    assert status == 130 and output == '' and 'starts over' in errors
    assert not out.exists()
    assert command(*argv)[0] == 0
    command('import', out, '--out', tmp_path / 'back' / form)
    assert sources.same(store.Store(tmp_path / 'back' / form), contents)
    assert not list(tmp_path.glob('*.partial'))


def test_leftovers_of_another_export_are_not_mixed_in(
    command, dataset, tmp_path):
  partial, out = tmp_path / 'out.partial', tmp_path / 'out'
  partial.mkdir()
  (partial / '20000101T000000-other-5.npz').touch()
  assert command('export', dataset, '--format', 'dreamerv2', '--out', out)[
      0] == 0
  assert len(list(out.glob('*.npz'))) == 4 and not partial.exists()


def test_errors(command, dataset, tmp_path):
  argv = '--format', 'dreamerv2', '--out', tmp_path / 'out'
  def fails(directory, words):
    status, output, errors = command('export', directory, *argv)
    assert status == 2 and output == ''
    assert errors.startswith('error: ') and errors.count('\n') == 1
    assert words in errors
    assert not (tmp_path / 'out').exists()
  fails(tmp_path / 'nowhere', 'No such dataset directory')
  (tmp_path / 'empty').mkdir()
  fails(tmp_path / 'empty', 'no episodes to export')
  path = dataset / 'shard-00000' / 'image.bin'
  with path.open('r+b') as file:
    file.seek(6000)
    file.write(b'damage')
  fails(dataset, 'episode 1 is damaged')
  (tmp_path / 'out').mkdir()
  assert 'exists already' in command('export', dataset, *argv)[2]
