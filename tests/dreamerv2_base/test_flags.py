"""Command line: precedence, types, help and every message."""

import pytest

from dreamerv2_base import flags

DEFAULTS = """
# All keys.

seed: 0  # of every random number
batch: 16
# Name of the task,
# with its suite.
task: dmc_walker_walk
offline_dir: ''
eager: false
rate: 3e-4
actor_ent: '1e-4'  # number or schedule
layers: [400, 400]
betas: [0.9, 0.999]
names: []
coworld:  # The three stages.
  alpha: 2.0  # weight of the min-max term
  beta: {state: 1.0, reward: 0.5}  # weights of the alignment
"""


@pytest.fixture
def directory(tmp_path):
  (tmp_path / 'defaults.yaml').write_text(DEFAULTS)
  (tmp_path / 'dmc.yaml').write_text('# Control suite.\n# More.\nbatch: 8\n')
  (tmp_path / 'coworld.yaml').write_text('batch: 4\ncoworld.alpha: 3\n')
  return tmp_path


def complaint(directory, *argv):
  with pytest.raises(ValueError) as info:
    flags.parse(argv, directory)
  assert '\n' not in str(info.value)
  return str(info.value)


def test_precedence(directory):
  assert flags.parse([], directory).batch == 16
  assert flags.parse(['--configs', 'dmc', 'coworld'], directory).batch == 4
  assert flags.parse(['--configs', 'coworld', 'dmc'], directory).batch == 8
  assert flags.parse(['--configs=coworld,dmc'], directory).batch == 8
  argv = ['--batch', '2', '--configs', 'coworld', '--seed=3']
  config = flags.parse(argv, directory)
  assert (config.batch, config.seed, config.coworld.alpha) == (2, 3, 3.0)


@pytest.mark.parametrize('argv, key, expected', [
    ('--batch 1e4', 'batch', 10000), ('--seed -1', 'seed', -1),
    ('--coworld.alpha 2', 'coworld.alpha', 2.0), ('--rate=1e-5', 'rate', 1e-5),
    ('--coworld.beta.state .5', 'coworld.beta.state', 0.5),
    ('--eager true', 'eager', True), ('--eager=False', 'eager', False),
    ('--task=a=b', 'task', 'a=b'), ('--task 12', 'task', '12'),
    ('--offline_dir=', 'offline_dir', ''),
    ('--actor_ent linear(1,0,5)', 'actor_ent', 'linear(1,0,5)'),
    ('--actor_ent 3e-4', 'actor_ent', '3e-4'),
    ('--layers 1 2 3', 'layers', [1, 2, 3]),
    ('--layers 1,2', 'layers', [1, 2]),
    ('--layers=', 'layers', []), ('--betas 1 .5', 'betas', [1.0, 0.5]),
    ('--names a,b c', 'names', ['a', 'b', 'c']), ('--names 1', 'names', ['1']),
])
def test_values(directory, argv, key, expected):
  result = flags.parse(argv.split(), directory).flat()[key]
  assert result == expected and type(result) is type(expected)


@pytest.mark.parametrize('argv, message', [
    ('--coworld.alfa 2',
     "unknown flag '--coworld.alfa', did you mean '--coworld.alpha'?"),
    ('--config dmc', "unknown flag '--config', did you mean '--configs'?"),
    ('--batch.size 2', "unknown flag '--batch.size', did you mean '--batch'?"),
    ('--configs dcm', "unknown overlay 'dcm', did you mean 'dmc'?"),
    ('--configs defaults', "unknown overlay 'defaults', did you mean 'dmc'?"),
    ('--batch x', "command line: 'batch' must be int, got 'x'"),
    ('--batch 1.5', "command line: 'batch' must be int, got 1.5"),
    ('--rate nan', "command line: 'rate' must be float, got nan"),
    ('--eager yes', "command line: 'eager' must be bool, got 'yes'"),
    ('--layers 1 x',
     "command line: 'layers' must be list of int, got [1, 'x']"),
    ('--coworld 3',
     "command line: 'coworld' is a group and cannot be '3', "
     "set its keys, for example 'coworld.alpha'"),
    ('--batch', "flag '--batch' needs a value"),
    ('--configs --batch 1', "flag '--configs' needs a value"),
    ('--seed 1 --seed=2', "flag '--seed' is given twice"),
    ('--batch 1 2', "unexpected argument '2' after '--batch 1'"),
    ('--batch=1 2', "unexpected argument '2'"),
    ('dmc --batch 2', "unexpected argument 'dmc'"),
    ('--bat 2', "unknown flag '--bat', did you mean '--batch'?"),
])
def test_messages(directory, argv, message):
  assert complaint(directory, *argv.split()) == message


def test_broken_overlay_is_named(directory):
  path = directory / 'dmc.yaml'
  path.write_text('bach: 3\n')
  assert complaint(directory, '--configs', 'dmc') == (
      f"{path}: unknown key 'bach', did you mean 'batch'?")
  path.write_text('seed: 1\nseed: 2\n')
  assert f'{path}, line 2' in complaint(directory, '--configs', 'dmc')


def test_directory_without_overlays(directory):
  for name in ('dmc', 'coworld'):
    (directory / f'{name}.yaml').unlink()
  message = complaint(directory, '--configs', 'dmc')
  assert message == "unknown overlay 'dmc'"
  (directory / 'defaults.yaml').unlink()
  with pytest.raises(FileNotFoundError, match='defaults.yaml'):
    flags.parse([], directory)


@pytest.mark.parametrize('argv', [['-h'], ['--batch', 'x', '--help']])
def test_help(directory, capsys, monkeypatch, argv):
  monkeypatch.setenv('COLUMNS', '70')
  with pytest.raises(SystemExit) as info:
    flags.parse(argv, directory)
  assert info.value.code == 0
  text = capsys.readouterr().out
  lines = [' '.join(line.split()) for line in text.splitlines()]
  assert lines[0].startswith('usage: ')
  assert 'dmc Control suite.' in lines and 'coworld' in lines
  assert '--seed 0 of every random number' in lines
  assert '--batch 16' in lines
  assert '--task dmc_walker_walk Name of the task, with its suite.' in (
      ' '.join(lines))
  assert "--offline_dir ''" in lines and "--names ''" in lines
  assert '--layers 400,400' in lines
  assert '--actor_ent 1e-4 number or schedule' in lines
  assert '--coworld.alpha 2.0 weight of the min-max term' in lines
  assert '--coworld.beta.state 1.0 weights of the alignment' in lines
  assert '--coworld.beta.reward 0.5' in lines
  table = text[text.index('Keys with'):].splitlines()
  assert max(map(len, table)) <= 70
