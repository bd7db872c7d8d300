import re

import numpy as np
import pytest
from matplotlib import image

from coworld_tf.datasets import __main__ as program
from dreamerv2_base import store
from tests.datasets import sources


def facts(output):
  """Values of the lines 'name  value'."""
  found = re.findall(r'^  (\S+(?: \S+)*?) {2,}(.*)$', output, re.MULTILINE)
  return dict(found)


def test_table(command, dataset, contents):
  status, output, _ = command('info', dataset)
  assert status == 0
  found = facts(output)
  assert found['episodes'] == '4' and found['agent steps'] == '22'
  assert found['rows per episode'] == '5 to 8' and found['frames'] == '44'
  assert found['success rate'] == '50.0% of 4 episodes that tell'
  assert found['image'] == 'uint8 [16, 16, 3]'
  assert found['task'] == 'dmc_walker_walk'
  returns = [ep['reward'].sum() for ep in contents]
  for key, value in (
      ('mean', np.mean(returns)), ('min', min(returns)),
      ('q25', np.percentile(returns, 25)), ('max', max(returns))):
    assert float(found[key]) == pytest.approx(value, rel=1e-3)
  size = sum(x.stat().st_size for x in dataset.rglob('*') if x.is_file())
  assert found['size on disk'] == f'{size / 2 ** 20:.1f} MiB'


def test_actions_leave_out_the_reset(command, dataset, contents):
  _, output, _ = command('info', dataset)
  actions = np.concatenate([ep['action'][1:] for ep in contents])
  lines = re.findall(
      r'^  \d +mean (\S+) +std (\S+) +min (\S+) +max (\S+)$', output,
      re.MULTILINE)
  found = np.array(lines, np.float64)
  expected = [x(actions, 0) for x in (np.mean, np.std, np.min, np.max)]
  np.testing.assert_allclose(found, np.transpose(expected), atol=6e-4)


def test_histogram_counts_every_episode(command, dataset):
  _, output, _ = command('info', dataset)
  counts = re.findall(r'^ +\S+ to \S+ +(\d+) (#*)$', output, re.MULTILINE)
  assert sum(int(count) for count, _ in counts) == 4
  assert max(len(bar) for _, bar in counts) == 40


def test_plots(command, dataset, tmp_path):
  with store.Writer(dataset) as writer:
    writer.append(sources.content(rows=3, seed=9))  # The lowest return.
  folder = tmp_path / 'deep' / 'plots'
  status, output, _ = command('info', dataset, '--plot', folder)
  assert status == 0 and 'frames.png' in output
  assert {x.name for x in folder.iterdir()} == {'frames.png', 'returns.png'}
  sheet = image.imread(folder / 'frames.png')
  # Images of 16 are shown ten times as large, with gaps of 6.
  assert sheet.shape[:2] == (5 * 166 + 6, 8 * 166 + 6)
  data = store.Store(dataset)
  ranked = sorted(data.episodes, key=lambda entry: entry['return'])
  assert ranked[0]['id'] == 4
  for row, entry in enumerate(ranked):
    for column in (0, 7):  # The first and the last image.
      top, left = row * 166 + 6, column * 166 + 6
      shown = sheet[top: top + 160, left: left + 160][5::10, 5::10, :3]
      expected = data.read(entry)['image'][column and -1]
      np.testing.assert_array_equal(np.rint(shown * 255), expected)


def test_without_metadata(command, dataset):
  (dataset / 'metadata.json').unlink()
  status, output, _ = command('info', dataset)
  assert status == 0 and 'frames ' not in output


def test_errors(command, tmp_path):
  assert command('info', tmp_path)[0] == 2
  assert 'holds no episodes' in command('info', tmp_path)[2]
  (tmp_path / 'a.npz').write_bytes(b'')
  assert 'must be imported' in command('info', tmp_path)[2]


def test_truncated_files_are_named(command, dataset):
  (dataset / 'shard-00000' / 'action.bin').write_bytes(b'')
  status, output, errors = command('info', dataset)
  assert status == 2 and output == ''
  assert errors.count('\n') == 1 and 'action.bin' in errors


def test_commands_have_help(command):
  for name in program.COMMANDS:
    status, output, _ = command(name, '--help')
    assert status == 0 and 'usage: python -m coworld_tf.datasets' in output
  status, output, _ = command('--help')
  assert all(name in output for name in program.COMMANDS)
  assert command('collct')[0] == 2
