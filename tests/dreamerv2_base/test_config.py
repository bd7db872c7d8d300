"""Configuration: reading, merging with checks, saving."""

import copy
import pickle
import subprocess
import sys

import pytest

from dreamerv2_base import config as configs

TREE = {
    'seed': 0, 'batch': 16, 'rate': 3e-4, 'task': 'dmc_walker_walk',
    'eager': False, 'layers': [400, 400], 'betas': [1, 0.9], 'names': [],
    'flags': [True], 'actor_ent': '1e-4', 'anneal': 'linear(1,0,5e5)',
    'rssm': {'deter': 600, 'act': 'elu', 'prior': {'hidden': 600}},
    'coworld': {'alpha': 2.0, 'beta': 1.0}}


@pytest.fixture
def base():
  return configs.Config(TREE)


def complaint(base, override):
  with pytest.raises(ValueError) as info:
    configs.merge(base, override, 'x.yaml')
  assert '\n' not in str(info.value)
  return str(info.value)


def test_access(base):
  assert base.rssm.prior.hidden == base['rssm']['prior']['hidden'] == 600
  assert dict(**base.coworld) == {'alpha': 2.0, 'beta': 1.0}
  assert list(base) == list(TREE) and len(base) == len(TREE)
  assert base == TREE and base.to_dict() == TREE
  assert type(base.to_dict()['rssm']['prior']) is dict
  assert base.flat()['rssm.prior.hidden'] == 600
  assert list(base.flat())[-2:] == ['coworld.alpha', 'coworld.beta']
  with pytest.raises(AttributeError, match='alfa'):
    _ = base.coworld.alfa


def test_read_only(base):
  with pytest.raises(AttributeError, match='cannot be set'):
    base.seed = 1
  with pytest.raises(TypeError):
    base['seed'] = 1
  base.layers.append(3)
  base.to_dict()['rssm']['deter'] = 3
  assert base == TREE


def test_copies(base):
  assert pickle.loads(pickle.dumps(base)) == base
  assert copy.deepcopy(base).rssm.prior.hidden == 600


@pytest.mark.parametrize('tree, match', [
    ({'items': 1}, "'items' cannot be the name"),
    ({'a.b': 1}, "'a.b' cannot be the name"),
    ({'_tree': 1}, 'cannot be the name'),
    ({1: 1}, '1 cannot be the name'),
    ({'a': None}, "key 'a' cannot hold None"),
    ({'a': [[1]]}, 'cannot hold'),
    ({'a': [1, 'x']}, 'cannot hold'),
    ({'a': {'b': [True, 1]}}, "key 'b' cannot hold"),
])
def test_invalid_tree(tree, match):
  with pytest.raises(ValueError, match=match):
    configs.Config(tree)


def test_merge_nested_and_dotted(base):
  override = {
      'rssm': {'deter': 8, 'prior': {}}, 'rssm.prior.hidden': 4, 'seed': 1}
  merged = configs.merge(base, override, 'x.yaml')
  assert merged.rssm == {'deter': 8, 'act': 'elu', 'prior': {'hidden': 4}}
  assert merged.seed == 1 and merged.coworld == base.coworld
  assert base == TREE


@pytest.mark.parametrize('key, value, expected', [
    ('batch', 1e4, 10000), ('batch', 8, 8), ('rate', 1, 1.0),
    ('rate', 1e-3, 1e-3), ('eager', True, True), ('task', '', ''),
    ('layers', [], []), ('layers', [1e2], [100]), ('betas', [1], [1.0]),
    ('names', ['a'], ['a']), ('flags', [False, True], [False, True]),
    ('actor_ent', 3e-4, '0.0003'), ('actor_ent', 'linear(1,0,2)',
                                    'linear(1,0,2)'), ('anneal', 1, '1'),
])
def test_conversion(base, key, value, expected):
  result = configs.merge(base, {key: value}, 'x.yaml')[key]
  assert result == expected and type(result) is type(expected)
  if isinstance(expected, list):
    assert [type(x) for x in result] == [type(x) for x in expected]


@pytest.mark.parametrize('key, value, kind', [
    ('batch', True, 'int'), ('batch', 1.5, 'int'), ('batch', 'x', 'int'),
    ('batch', None, 'int'), ('batch', float('nan'), 'int'),
    ('rate', float('inf'), 'float'), ('rate', float('nan'), 'float'),
    ('rate', False, 'float'), ('rate', '1', 'float'), ('rate', 10**400,
                                                       'float'),
    ('eager', 1, 'bool'), ('eager', 'True', 'bool'), ('task', 3, 'str'),
    ('layers', 4, 'list of int'), ('layers', ['x'], 'list of int'),
    ('layers', [1.5], 'list of int'), ('layers', (1, 2), 'list of int'),
    ('betas', [True], 'list of float'), ('names', [1], 'list of str'),
    ('actor_ent', True, 'str'), ('batch', {}, 'int'),
])
def test_wrong_type(base, key, value, kind):
  message = f"x.yaml: '{key}' must be {kind}, got {value!r}"
  assert complaint(base, {key: value}) == message


@pytest.mark.parametrize('key, hint', [
    ('coworld.alfa', 'coworld.alpha'), ('alpha', 'coworld.alpha'),
    ('cowrld.beta', 'coworld.beta'), ('batches', 'batch'),
    ('hiden', 'rssm.prior.hidden'),
])
def test_unknown_key(base, key, hint):
  message = f"x.yaml: unknown key '{key}', did you mean '{hint}'?"
  assert complaint(base, {key: 3}) == message


def test_unknown_nested_key(base):
  message = complaint(base, {'coworld': {'alfa': 3}})
  assert message.startswith("x.yaml: unknown key 'coworld.alfa'")
  assert "unknown key 'nothing'" in complaint(base, {'nothing': {}})
  assert complaint(configs.Config({}), {'a': 1}) == (
      "x.yaml: unknown key 'a'")


def test_groups_stay_groups(base):
  assert complaint(base, {'rssm.prior': 3}) == (
      "x.yaml: 'rssm.prior' is a group and cannot be 3, "
      "set its keys, for example 'rssm.prior.hidden'")
  assert complaint(base, {'batch': {'size': 3}}) == (
      "x.yaml: 'batch' is a single value and has no key 'batch.size'")


def test_key_twice(base):
  override = {'coworld.alpha': 1, 'coworld': {'alpha': 2}}
  assert complaint(base, override) == (
      "x.yaml: key 'coworld.alpha' is given twice")


def test_load(tmp_path):
  path = tmp_path / 'x.yaml'
  path.write_text('a: 1e-4\nb: off\nc: {d: [1, 2]}  # Two.\n')
  assert configs.load(path) == {
      'a': 1e-4, 'b': 'off', 'c': {'d': [1, 2]}}
  path.write_text('# Nothing.\n')
  assert configs.load(path) == {}


@pytest.mark.parametrize('text, match', [
    ('a: 1\nb: 2\na: 3\n', r'x\.yaml, line 3: .*duplicate key "a"'),
    ('g:\n  a: 1\n  a: 3\n', r'x\.yaml, line 3: .*duplicate key "a"'),
    ('a: 1\nb: [1\nc: 2\n', r'x\.yaml, line 3: '),
    ('a: 1\n\tb: 2\n', r'x\.yaml, line 2: '),
    ('a: !thing 1\n', r'x\.yaml, line 1: '),
    ('a: \x00\n', r'x\.yaml: '),
    ('- 1\n', r"x\.yaml: expected lines of 'key: value'"),
    ('text', r"x\.yaml: expected lines of 'key: value'"),
])
def test_invalid_file(tmp_path, text, match):
  path = tmp_path / 'x.yaml'
  path.write_text(text)
  with pytest.raises(ValueError, match=match) as info:
    configs.load(path)
  assert '\n' not in str(info.value)


def test_binary_and_missing_file(tmp_path):
  path = tmp_path / 'x.yaml'
  path.write_bytes(b'a: \xc3\x28\n')
  with pytest.raises(ValueError, match=r'x\.yaml'):
    configs.load(path)
  with pytest.raises(FileNotFoundError, match='does not exist'):
    configs.load(tmp_path / 'y.yaml')


def test_save_round_trip(tmp_path, base):
  override = {
      'rate': 1e-05, 'task': 'a: b # c', 'names': ['1e-4', 'off', '', "it's"],
      'actor_ent': 1e-5, 'rssm.act': 'true', 'layers': list(range(200)),
      'anneal': '1_000', 'coworld.alpha': 1e300}
  config = configs.merge(base, override, 'x.yaml')
  path = tmp_path / 'config.yaml'
  configs.save(base, path)
  configs.save(config, path)
  assert configs.merge(base, configs.load(path), path) == config
  assert configs.Config(configs.load(path)) == config
  assert list(tmp_path.iterdir()) == [path]


def test_saved_text(tmp_path):
  path = tmp_path / 'config.yaml'
  tree = {'b': 1, 'a': {'x': [1, 2], 'y': '1e-4', 'z': True}, 'e': []}
  configs.save(configs.Config(tree), path)
  assert path.read_text() == (
      "b: 1\na:\n  x: [1, 2]\n  y: '1e-4'\n  z: true\ne: []\n")


def test_no_tensorflow():
  code = (
      'import sys; from dreamerv2_base import config, flags, progress; '
      'sys.exit("tensorflow" in sys.modules)')
  assert subprocess.run([sys.executable, '-c', code]).returncode == 0
