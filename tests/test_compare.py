"""The program that compares runs, on real files."""

import csv
import io
import json
import re
import subprocess
import sys

import imageio.v3 as imageio
import numpy as np
import pytest

from coworld_tf import compare
from coworld_tf.analysis import page, tables, videos
from tests.analysis import reader, stored_runs

CHEETAH = {'source': 'dmc_cheetah_run', 'target': 'dmc_cheetah_downhill'}
FILES = {
    'comparison.html', 'comparison.md', 'cells.csv', 'episodes.csv',
    'aggregates.csv', 'returns.png', 'aggregates.png', 'curves.png'}


@pytest.fixture(scope='module')
def studied(tmp_path_factory):
  """Folder of runs with everything that the page must tell, and output."""
  root = tmp_path_factory.mktemp('studied')
  walker = stored_runs.write_data(root / 'data' / 'walker')
  other = stored_runs.write_data(root / 'data' / 'other', seed=9)
  write = lambda name, *args, **kwargs: stored_runs.write(
      root / 'runs' / name, *args, **kwargs)
  for seed in range(3):
    write(f'co-{seed}', 'coworld', seed, (200.0 + seed, 210.0, 220.0),
          (True, False, True), data=walker, video=True)
    write(f'off-{seed}', 'dreamerv2_offline', seed, (100.0 + 60 * seed,) * 3,
          data=other if seed == 2 else walker, video=seed == 1)
  for seed in range(2):
    write(f'fine-{seed}', 'dv2_finetune', seed, (50.0, 52.0 + seed),
          data=walker, override={'quality': 'fast', 'evaluation.envs': 4})
  write('fine-2', 'dv2_finetune', 2, data=walker, finished=False)
  for seed in range(3):
    write(f'cheetah-{seed}', 'coworld', seed, (400.0, 500.0),
          updates=200 + seed // 2, **CHEETAH)
  assert compare.main([
      '--runs', str(root / 'runs'), '--out', str(root / 'out')]) == 0
  return root


@pytest.fixture(scope='module')
def shown(studied):
  """The page."""
  return reader.Page((studied / 'out' / page.HTML).read_text())


def rows(path):
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


def test_files(studied):
  assert {x.name for x in (studied / 'out').iterdir()} == FILES
  for name in FILES:
    if name.endswith('png'):
      pixels = imageio.imread(studied / 'out' / name)
      assert pixels.std() > 5


def test_cells(studied):
  cells = {(x['method'], x['pair']): x
           for x in rows(studied / 'out' / tables.CELLS)}
  assert len(cells) == 4
  cell = cells['dreamerv2_offline', 'WW->WD']
  assert float(cell['mean']) == 160 and float(cell['std']) == 60
  assert float(cell['pooled_std']) == pytest.approx(
      np.std([100.0, 160.0, 220.0] * 3, ddof=1))
  assert cell['seeds'] == '0 1 2' and cell['episodes'] == '9'
  assert cell['against_reference'] == 'not separated'
  assert cell['success'] == cell['paper_mean'] == ''
  assert float(cell['low']) == 100 and float(cell['high']) == 220
  ours = cells['coworld', 'WW->WD']
  assert float(ours['mean']) == pytest.approx(630 / 3 + 1 / 3)
  assert float(ours['success']) == pytest.approx(2 / 3)
  assert (ours['paper_mean'], ours['paper_std']) == ('629', '9')
  assert float(ours['dataset_mean']) == 60 and ours['random_mean'] == '20.0'
  fine = cells['dv2_finetune', 'WW->WD']
  assert fine['against_reference'] == 'below the reference'
  assert fine['paper_mean'] == '379'


def test_episodes(studied):
  every = rows(studied / 'out' / tables.EPISODES)
  assert len(every) == 3 * 3 * 2 + 2 * 2 + 3 * 2
  assert [x['return'] for x in every if x['method'] == 'coworld'
          and x['pair'] == 'WW->WD' and x['seed'] == '2'] == [
              '202.0', '210.0', '220.0']


def test_aggregates(studied):
  found = {x['method']: x for x in rows(studied / 'out' / tables.AGGREGATES)}
  # S_max is 500 for the walker, the cheetah's highest return 1000; random 20.
  scores = [(x - 20) / 480 for x in (210, 210 + 1 / 3, 210 + 2 / 3)]
  scores += [(450 - 20) / 980] * 3
  ours = found['coworld']
  assert float(ours['iqm']) == pytest.approx(np.mean(sorted(scores)[1:5]))
  assert float(ours['mean']) == pytest.approx(np.mean(scores))
  assert float(ours['optimality_gap']) == pytest.approx(1 - np.mean(scores))
  assert ours['pairs'] == '2' and ours['improvement'] == ''
  other = found['dreamerv2_offline']
  assert float(other['improvement']) == pytest.approx(6 / 9)
  assert other['against_reference'] == 'other pairs'


def test_page_tells_what_is_amiss(shown):
  for line in (
      'dv2_finetune: no seed 2 on WW → WD',
      'dv2_finetune: no run on CR → CD',
      'WW → WD: quality exact in dreamerv2_offline (seeds 0, 1, 2), '
      'coworld (seeds 0, 1, 2); fast in dv2_finetune (seeds 0, 1)',
      'WW → WD: envs 2 in', 'episodes 3 in',
      'metadata of the dataset: seed 0 in', '9 in dreamerv2_offline (seed 2)',
      'runs/fine-2', '3 distinct resamples of 2 seeds and 10 distinct',
      'CR → CD: no metadata left of the dataset of coworld (seeds 0, 1, 2)',
      'dreamerv2_offline: only 1 of 2 pairs',
      '1 is 500, S_max', '1 is 1000, the highest possible return',
      'the last evaluation of the training: 11 of 11 runs',
      'CR → CD: updates on target data 200 in coworld (seeds 0, 1); 201 in '
      'coworld (seed 2)', '1,500 50 201 1.50',
      'with fewer than four scores nothing is left out',
      'not separated', 'paper, at its scale: 629 ± 9',
      '67% successful', '60.0', 'medium_replay data'):
    assert line.replace(' → ', '->') in shown.text.replace(' → ', '->'), line


def test_page_is_complete_and_alone(shown):
  assert not shown.open
  assert all(x.startswith('data:') for x in shown.addresses)
  assert sum(x.startswith('data:image/png') for x in shown.addresses) == 3
  assert sum(x.startswith('data:image/gif') for x in shown.addresses) == 2


def test_markdown_says_the_same(studied, shown):
  text = (studied / 'out' / page.MARKDOWN).read_text()
  assert 'no seed 2 on WW->WD' in text and '**160.0 ± 60.0**' in text
  assert 'paper, at its scale: 629 ± 9' in text
  for name in re.findall(r'!\[.*\]\((.*)\)', text):
    assert (studied / 'out' / name).exists()
  heads = [x for x in text.splitlines() if x.startswith('|---')]
  assert len(heads) == 2


def test_videos_are_small(studied):
  path = studied / 'runs' / 'co-0' / 'videos' / 'target_episode-250.gif'
  data = videos.shrink(path)
  video = imageio.imread(io.BytesIO(data), plugin='pillow', index=None)
  assert len(video) == videos.FRAMES and video.shape[1:3] == (16, 16)
  original = imageio.imread(path, plugin='pillow', index=None)
  np.testing.assert_array_equal(video[0][..., :3], original[0][..., :3])
  np.testing.assert_array_equal(video[-1][..., :3], original[-1][..., :3])


def test_reference(studied, tmp_path, capsys):
  argv = ['--runs', str(studied / 'runs'), '--out', str(tmp_path / 'out')]
  assert compare.main([*argv, '--reference', 'dv2_finetune']) == 0
  cells = rows(tmp_path / 'out' / tables.CELLS)
  found = {x['method']: x['against_reference'] for x in cells
           if x['pair'] == 'WW->WD'}
  assert found['coworld'] == 'above the reference'
  with pytest.raises(SystemExit, match='2'):
    compare.main([*argv, '--reference', 'cql'])
  assert "no run of 'cql', the methods are: dreamerv2_offline; dv2_f" in (
      capsys.readouterr().err)


def test_one_run_of_strange_names(tmp_path):
  path = stored_runs.write(
      tmp_path / '<b>|&', source='dummy_3', target='dummy_2')
  assert compare.main(['--runs', str(path), '--out', str(tmp_path / 'o')]) == 0
  content = (tmp_path / 'o' / page.HTML).read_text()
  assert '<b>|&' not in content and '&lt;b&gt;|&amp;' in content
  shown = reader.Page(content)
  assert 'A single seed has neither' in shown.text
  assert 'dummy_3 → dummy_2: left out' in shown.text.replace(' > ', ' → ')
  assert not (tmp_path / 'o' / 'aggregates.png').exists()


def test_output_repeats(studied, tmp_path):
  argv = ['--runs', str(studied / 'runs'), '--out', str(tmp_path / 'out')]
  assert compare.main(argv) == 0
  for name in FILES:
    first = (studied / 'out' / name).read_bytes()
    assert (tmp_path / 'out' / name).read_bytes() == first, name


def test_process_tells_mistakes_in_one_line(studied, tmp_path):
  def command(*args):
    code = (
        'import sys; from coworld_tf import compare; status = 0\n'
        'try: status = compare.main(sys.argv[1:])\n'
        'finally: assert "tensorflow" not in sys.modules\n'
        'sys.exit(status)')
    result = subprocess.run(
        [sys.executable, '-c', code, *map(str, args)], capture_output=True,
        text=True)
    return result.returncode, result.stdout, result.stderr
  status, output, errors = command(
      '--runs', *sorted((studied / 'runs').iterdir()), '--out',
      tmp_path / 'deep' / 'out')
  assert status == 0 and not errors
  assert '160.0 ± 60.0 (3)' in output and 'cells.csv' in output
  status, output, errors = command('--runs', '/absent', '--out', tmp_path)
  assert (status, output) == (2, '')
  assert errors == 'error: no such run: /absent\n'


def test_mistakes(tmp_path, capsys):
  def error(run, out):
    with pytest.raises(SystemExit, match='2'):
      compare.main(['--runs', str(run), '--out', str(out)])
    message, = capsys.readouterr().err.splitlines()
    return message
  path = stored_runs.write(tmp_path / 'run')
  taken = tmp_path / 'file'
  taken.write_text('mine')
  assert error(path, taken) == f'error: File exists: {taken}'
  assert taken.read_text() == 'mine'
  stored_runs.write_lines(path / 'summary.json', [{'score': 1}])
  assert 'another version' in error(path, tmp_path / 'out')
  stored_runs.write_lines(path / 'summary.json', [{'returns': {}}])
  with (path / 'evaluations.jsonl').open('a') as file:
    file.write(json.dumps({'policy': 'target', 'step': 9})[:-4])
  assert 'evaluations.jsonl, line 5: damaged' in error(path, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
