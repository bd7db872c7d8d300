import pathlib
import shutil

import hypothesis
import pytest
from hypothesis import strategies as st

from coworld_tf import inputs, limits
from dreamerv2_base import config as configs
from dreamerv2_base import flags
from tests.fuzz import hostile, sandbox

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
BASE = flags.parse(
    ['--configs', 'dmc', 'coworld', '--logdir', 'runs/x', '--offline_dir',
     'data', '--source_task', 'dummy_2', '--target_task', 'dummy_3'], CONFIGS)
LEAVES = sorted(BASE.flat())
GROUPS = sorted(key for key in BASE if key not in LEAVES)
# What a writer of YAML would not write.
LINES = [
    'a: &x [1, 2]', 'b: *x', 'c: &y {<<: *y}', 'rssm: &z {deter: *z}', '- 1',
    '? [1]', ': 3', '---', '...', '%YAML 1.1', '%TAG ! x', 'a: !!set {b}',
    'seed: !!int ""', 'seed: !!bool x', 'seed: !!python/object:os.x {}',
    'seed: !!binary AAA', 'seed: 2001-99-99', 'seed: 1:60:99', 'seed: 0o9',
    'seed: ' + '9' * 5000, 'seed: 0x' + 'f' * 9000, 'seed: 1_0', 'seed: ._',
    'seed: |\n  x', 'seed: 1', 'seed: 2', 'rssm.deter: 4', 'rssm: {deter: 5}',
    'rssm: 3', 'rssm: {}', 'rssm:', '\trssm: 1', 'a: "\\x1b[2J"', "a: 'b",
    'a: [' * 40, '{' * 200, 'x' * 3000 + ': 1', 'a: ' + 'b ' * 2000, '~: ~',
    'true: 1', '1: 2', 'time_limit: 2001-12-14t21:59:43.10+99:00']


@st.composite
def documents(draw):
  """Text of a configuration file."""
  lines = draw(st.lists(st.sampled_from(LINES) | st.builds(
      lambda key, value: f'{key}: ' + hostile.dumped(value).decode(),
      st.sampled_from(LEAVES + GROUPS) | hostile.texts, hostile.values),
      min_size=1, max_size=4))
  return '\n'.join(lines).encode('utf-8', 'surrogatepass')


@hypothesis.given(
    documents() | hostile.damaged(documents()) | st.binary(max_size=200)
    | hostile.deep.map(str.encode))
def test_files(content):
  with sandbox.folder() as folder:
    path = folder / 'config.yaml'
    path.write_bytes(content)

    def check():
      inputs.check(configs.merge(BASE, configs.load(path), path))
      inputs.check_logdir(BASE, folder)

    sandbox.outcome(check, folder)


@hypothesis.given(st.sampled_from(LEAVES), hostile.values)
def test_values(key, value):
  with sandbox.folder() as folder:
    sandbox.outcome(
        lambda: inputs.check(configs.merge(BASE, {key: value}, 'here')),
        folder)


@hypothesis.settings(max_examples=max(
    hypothesis.settings().max_examples // 4, 1))
@hypothesis.given(st.lists(
    st.sampled_from([f'--{key}' for key in LEAVES + GROUPS])
    | hostile.texts | hostile.numbers.map(str)
    | hostile.texts.map('--'.__add__) | st.sampled_from([
        '--', '--=', '--configs', '--configs=..', '--configs=../../mine',
        '--seed=' + '9' * 5000, '--rssm', '--rssm.deter.x', '--' + 'x' * 9000,
        '--' + 'a.' * 5000, '-x', '--seed=1', '--rssm={}'])
    | st.builds(lambda key, value: f'--{key}={value}',
                st.sampled_from(LEAVES), hostile.scalars), max_size=4))
def test_flags(argv):
  hypothesis.assume('--help' not in argv and '-h' not in argv)
  with sandbox.folder() as folder:
    sandbox.outcome(
        lambda: inputs.check(flags.parse(argv, CONFIGS)), folder)


@pytest.mark.parametrize('make, words', [
    (lambda path: path.mkdir(), 'does not exist'),
    (lambda path: path.symlink_to(path), 'does not exist'),
    (lambda path: shutil.copy('/bin/sh', path), ''),
    (lambda path: path.write_bytes(b'a: 1\n' * 10 ** 5), 'larger than'),
    (lambda path: path.write_bytes(b'a: ' + b'9' * 5000), 'limit'),
    (lambda path: path.write_bytes(
        b'a0: &a0 [x]\n' + b''.join(
            b'a%d: &a%d [%s]\n' % (i, i, b','.join([b'*a%d' % (i - 1)] * 9))
            for i in range(1, 30))), 'aliases')])
def test_what_is_no_configuration(make, words):
  with sandbox.folder() as folder:
    make(folder / 'x.yaml')
    assert words in sandbox.outcome(
        lambda: configs.load(folder / 'x.yaml'), folder)


def test_every_number_has_a_range():
  for key, value in BASE.flat().items():
    example = configs.element(value) if isinstance(value, list) else value
    if type(example) in (int, float):
      low, high = limits.bounds(key)
      assert low < high
