"""CoWorld from suite to suite, through the commands of the README."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dreamerv2_base import store
from tests import training

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Overlay, source, target, sizes of their actions.
PAIRS = {
    'dmc': ('dmc_walker_walk', 'dmc_walker_downhill', 6, 6),
    'robodesk': ('metaworld_button-press', 'robodesk_push_green', 4, 5),
    'metaworld': ('metaworld_handle-press', 'metaworld_button-press', 4, 4)}
SHORTER = (
    '--schedule.prefill', 25, '--schedule.rounds', 1,
    '--schedule.source_steps', 25, '--schedule.target_steps', 25,
    '--schedule.model_updates', 1, '--train_every', 10,
    '--evaluation.final_episodes', 1)


@pytest.mark.parametrize('overlay', PAIRS)
def test_pair_trains_end_to_end(tmp_path, overlay):
  _, target, used, size = PAIRS[overlay]
  data, logdir = tmp_path / 'data', tmp_path / 'run'
  subprocess.run(
      [sys.executable, '-m', 'coworld_tf.datasets.collect', '--task', target,
       '--steps', '50', '--time_limit', '25', '--quality', 'fast',
       '--action_repeat', '1', '--out', data], cwd=ROOT, check=True)
  result = training.run(
      '--configs', overlay, 'coworld', 'debug', '--offline_dir', data,
      '--logdir', logdir, '--action_repeat', 1, *SHORTER)
  assert result.returncode == 0, result.stderr
  assert '\ntarget ' in result.stdout
  summary = json.loads((logdir / 'summary.json').read_text())
  reports = 'success' in summary['returns']['target']
  assert reports == (overlay != 'dmc')
  assert list(logdir.glob('videos/*target*'))
  # The source acts in its own dimensions and knows those of the target.
  source = store.Store(logdir / 'source_episodes')
  assert source.episodes
  for entry in source.episodes:
    action = source.read(entry)['action'][1:]
    assert action.shape[1] == size
    assert np.any(action[:, :used], 0).all()
    assert not np.any(action[:, used:])


@pytest.mark.parametrize('overlay', PAIRS)
def test_overlay_names_the_pair(overlay):
  text = (ROOT / 'configs' / f'{overlay}.yaml').read_text()
  source, target, _, _ = PAIRS[overlay]
  assert f'source_task: {source}\n' in text
  assert f'target_task: {target}\n' in text
