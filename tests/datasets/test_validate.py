import json

import numpy as np
import pytest

import envs
from coworld_tf.datasets import alignment, validate
from dreamerv2_base import episodes, store
from tests.datasets import sources


def test_sound_dataset(command, dataset):
  status, output, errors = command('validate', dataset)
  assert status == 0
  assert output == f'{dataset}: 4 episodes, 0 at fault\n'


def overwrite(dataset, key, offset, content):
  with (dataset / 'shard-00000' / f'{key}.bin').open('r+b') as file:
    file.seek(offset)
    file.write(content)


def test_damaged_rows_are_found_and_set_aside(command, dataset, contents):
  # Episodes begin in rows 0, 5, 11 and 18.
  overwrite(dataset, 'image', 12 * 768, b'damage')
  overwrite(dataset, 'action', 12 * 8, b'x')
  status, output, _ = command('validate', dataset)
  assert status == 1
  assert output.splitlines() == [
      'episode 2: image: rows missing or not as they were written (checksum)'
      '; action: rows missing or not as they were written (checksum)',
      f'{dataset}: 4 episodes, 1 at fault']
  index = (dataset / store.INDEX).read_text().splitlines()
  status, output, _ = command('validate', dataset, '--repair')
  assert status == 0 and f'moved to {dataset / "quarantine"}' in output
  data = store.Store(dataset)
  assert sources.same(data, [contents[0], contents[1], contents[3]])
  metadata = episodes.read_metadata(dataset)
  assert metadata['episodes'] == 3 and metadata['steps'] == 16
  assert metadata['frames'] == 32 and metadata['complete']
  assert metadata['returns'] == episodes.return_statistics(
      [entry['return'] for entry in data.episodes])
  (line,) = (dataset / 'quarantine' / 'faults.jsonl').read_text().splitlines()
  line = json.loads(line)
  assert line['entry'] == json.loads(index[3]) and len(line['faults']) == 2
  with np.load(dataset / 'quarantine' / line['file']) as arrays:
    np.testing.assert_array_equal(arrays['reward'], contents[2]['reward'])
    assert arrays['image'].shape == contents[2]['image'].shape
    assert (arrays['image'] != contents[2]['image']).any()
  assert command('validate', dataset)[0] == 0


def test_truncated_files_are_salvaged(command, dataset, contents):
  path = dataset / 'shard-00000' / 'image.bin'
  with path.open('r+b') as file:
    file.truncate(20 * 768 + 5)  # Two rows of the last episode.
  assert command('validate', dataset)[0] == 1
  assert command('validate', dataset, '--repair')[0] == 0
  assert sources.same(store.Store(dataset), contents[:3])
  (path,) = (dataset / 'quarantine').glob('episode-3-*.npz')
  with np.load(path) as arrays:
    np.testing.assert_array_equal(arrays['image'], contents[3]['image'][:2])
    np.testing.assert_array_equal(arrays['action'], contents[3]['action'])
  with store.Writer(dataset) as writer:
    writer.append(contents[3])
  assert sources.same(store.Store(dataset), contents)


def test_duplicates(command, dataset, contents):
  with store.Writer(dataset) as writer:
    writer.append(contents[1])
  status, output, _ = command('validate', dataset)
  assert status == 1
  assert 'episode 4: the same as episode 1' in output
  assert 'metadata.json tells of 4 episodes, there are 5' in output
  assert command('validate', dataset, '--repair')[0] == 0
  assert sources.same(store.Store(dataset), contents)


@pytest.mark.parametrize('key, rows, value, words', [
    ('is_first', 3, True, 'is_first is true in row 3 of 7'),
    ('is_first', 0, False, 'is_first is false in row 0'),
    ('is_last', 3, True, 'is_last is true in row 3 of 7'),
    ('is_last', -1, False, 'is_last is false in the last row'),
    ('is_terminal', 3, True, 'is_terminal is true in row 3 of 7'),
    ('action', 3, 1.5, 'actions reach 1.5, beyond 1'),
    ('action', 0, 0.5, 'row 0, the reset, has an action or a reward'),
    ('reward', 0, 0.5, 'row 0, the reset, has an action or a reward'),
    ('reward', 3, np.nan, 'reward is not finite in row 3'),
    ('reward', 3, 9, 'return in the index is'),
    ('image', slice(None), 7, 'all images are the same'),
])
def test_faults_of_episodes(key, rows, value, words):
  ep = sources.content()
  entry = {'return': episodes.episode_return(ep)}
  assert validate.check_episode(ep, entry) == []
  ep[key][rows] = value
  if np.isfinite(value) and value != 9:
    entry['return'] = episodes.episode_return(ep)
  (fault,) = validate.check_episode(ep, entry)
  assert words in fault


def test_faults_of_the_whole(command, dataset, tmp_path):
  metadata = episodes.read_metadata(dataset)
  episodes.write_metadata(dataset, {**metadata, 'complete': False})
  status, output, _ = command('validate', dataset)
  assert status == 1 and 'dataset: metadata.json says that it is' in output
  (tmp_path / 'empty').mkdir()
  status, output, _ = command('validate', tmp_path / 'empty')
  assert status == 1 and 'no sound episode' in output


def test_interrupted_repair_can_be_finished(command, dataset):
  # As killed between the index and the metadata.
  store.remove(dataset, [1])
  assert command('validate', dataset)[0] == 1
  assert command('validate', dataset, '--repair')[0] == 0
  assert command('validate', dataset)[0] == 0
  assert episodes.read_metadata(dataset)['episodes'] == 3


def test_all_episodes_can_be_set_aside(command, dataset):
  (dataset / 'shard-00000' / 'image.bin').write_bytes(b'')
  assert command('validate', dataset, '--repair')[0] == 1
  assert not store.Store(dataset).episodes
  assert 'returns' not in episodes.read_metadata(dataset)
  assert len(list((dataset / 'quarantine').glob('*.npz'))) == 4


def test_errors(command, dataset, tmp_path):
  status, _, errors = command('validate', tmp_path / 'nowhere')
  assert status == 2 and 'No such dataset directory' in errors
  with store.Writer(dataset) as writer:
    writer.append(sources.content(rows=6, seed=1))
    status, _, errors = command('validate', dataset, '--repair')
  assert status == 2 and 'another process is writing' in errors
  assert len(store.Store(dataset).episodes) == 5


def roll(policy, count=12):
  """Episodes of the points on lines, with `policy(image, rng)`."""
  env = envs.make('dummy_2', seed=0, size=16)
  rng = np.random.default_rng(0)
  for _ in range(count):
    obs, actions = env.reset(), [np.zeros(2, np.float32)]
    images = [obs['image']]
    while not obs['is_last']:
      actions.append(policy(obs['image'], rng).astype(np.float32))
      obs = env.step({'action': actions[-1]})
      images.append(obs['image'])
    yield {'image': np.stack(images), 'action': np.stack(actions)}


def by_chance(image, rng):
  del image
  return rng.uniform(-1, 1, 2)


def by_sight(image, rng):
  halves = image[..., 0].reshape(2, 8, 16).sum(1)
  place = halves @ np.linspace(-1, 1, 16) / halves.sum(1)
  return np.clip(rng.normal(0, 0.3, 2) - 2 * place, -1, 1)


@pytest.mark.parametrize('policy, rows, verdict', [
    (by_chance, 0, alignment.RIGHT), (by_chance, -1, alignment.WRONG),
    (by_chance, 1, alignment.UNKNOWN), (by_sight, 0, alignment.UNKNOWN),
    (by_sight, -1, alignment.UNKNOWN)])
def test_alignment(policy, rows, verdict):
  found = (
      {**ep, 'action': np.roll(ep['action'], rows, 0)} for ep in roll(policy))
  assert alignment.alignment(found)[0] == verdict


def test_alignment_needs_moving_images():
  still = {'image': np.zeros((9, 16, 16, 3), np.uint8),
           'action': np.ones((9, 2))}
  small = {**still, 'image': np.ones((9, 8, 8, 3), np.uint8)}
  for found in ([], [still], [still] * 3, [small] * 3):
    assert alignment.alignment(found) == (alignment.UNKNOWN, None)


def test_departures_taken_for_arrivals_are_found(command, tmp_path):
  source, out = tmp_path / 'source', tmp_path / 'out'
  source.mkdir()
  for index, ep in enumerate(roll(by_chance)):
    steps = np.roll(ep['action'], -1, 0)
    sources.npz(source / f'{index:02d}.npz', {
        'image': ep['image'], 'action': steps,
        'reward': np.zeros(len(steps))})
  command('import', source, '--out', out, '--alignment', 'arrival')
  status, output, _ = command('validate', out)
  assert status == 1
  assert 'dataset: actions lie one row too early' in output
  command(
      'import', source, '--out', tmp_path / 'b', '--alignment', 'departure')
  assert command('validate', tmp_path / 'b')[0] == 0
