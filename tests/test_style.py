"""The rules of the code base: imports point down, files stay readable."""

import ast
import pathlib
import re

import pytest
from ruamel import yaml

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ('coworld_tf', 'dreamerv2_base', 'envs')
MAY_IMPORT = {
    'train': {'coworld_tf', 'dreamerv2_base', 'envs'},
    'coworld_tf': {'dreamerv2_base', 'envs'},
    'dreamerv2_base': set(),
    'envs': set(),
    'benchmarks': {'coworld_tf', 'dreamerv2_base', 'envs'},
    'tests': {'benchmarks', 'coworld_tf', 'dreamerv2_base', 'envs', 'train'},
}
TENSORFLOW = {'tensorflow', 'tensorflow_probability', 'tf_keras', 'keras'}

LIBRARY = sorted([
    'train.py', *(path.relative_to(ROOT).as_posix()
                  for package in PACKAGES
                  for path in ROOT.glob(f'{package}/**/*.py'))])
BENCHMARKS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob('benchmarks/**/*.py'))
TESTS = sorted(
    path.relative_to(ROOT).as_posix() for path in ROOT.glob('tests/**/*.py'))
OVERLAYS = sorted(
    path.name for path in ROOT.glob('configs/*.yaml')
    if path.name != 'defaults.yaml')


def imports(tree):
  """Dotted names of everything that a module imports, at any depth."""
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
      names.update(f'{node.module}.{alias.name}' for alias in node.names)
  return names


def import_errors(path, tree):
  """Imports against the direction of the packages."""
  names = imports(tree)
  roots = {name.split('.')[0] for name in names}
  package = path.split('/')[0].removesuffix('.py')
  banned = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
  if path.startswith(('envs/', 'tests/envs/')):
    banned |= TENSORFLOW
  errors = [f'{path}: imports {root}' for root in sorted(roots & banned)]
  if path.startswith('coworld_tf/stages/') and roots - {'tensorflow'}:
    errors.append(f'{path}: stages import tensorflow only')
  trainer = re.compile(r'coworld_tf\.trainer(\.|$)')
  if path.startswith('coworld_tf/analysis/') and any(
      map(trainer.match, names)):
    errors.append(f'{path}: analysis imports the trainer')
  return errors


def is_constant(node):
  """Whether a condition is the literal True or False."""
  return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def banned_construct(node, is_program):
  """Name of the banned construct at this syntax node, or None."""
  match node:
    case ast.Global():
      return 'global'
    case ast.ImportFrom(level=level) if level > 0:
      return 'relative import'
    case ast.ImportFrom(names=[ast.alias(name='*')]):
      return 'star import'
    case (ast.Attribute(value=ast.Name(id='sys'), attr='path')
          | ast.ImportFrom(module='sys')):
      return 'sys.path'
    case ast.ExceptHandler(type=None):
      return 'bare except'
    case ast.BoolOp(values=values) if any(map(is_constant, values)):
      return 'constant condition'
    case ast.If(test=test) | ast.IfExp(test=test) if is_constant(test):
      return 'constant condition'
    case ast.Call(func=ast.Name(id='print'), keywords=keywords):
      if not is_program and all(word.arg != 'file' for word in keywords):
        return 'print outside a program'
  return None


def construct_errors(path, tree):
  """Banned constructs.

  Modules with a `main` are programs and may print; others only to a stream
  that they name.
  """
  is_program = any(
      isinstance(node, ast.FunctionDef) and node.name == 'main'
      for node in tree.body)
  found = [(node, banned_construct(node, is_program))
           for node in ast.walk(tree)]
  return [f'{path}:{node.lineno}: {name}' for node, name in found if name]


def size_errors(path, text, tree):
  """Modules over 300 lines and functions over 60."""
  errors = []
  if len(text.splitlines()) > 300:
    errors.append(f'{path}: more than 300 lines')
  for node in ast.walk(tree):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
      if node.end_lineno - node.lineno + 1 > 60:
        errors.append(f'{path}: {node.name} has more than 60 lines')
  return errors


def docstring_errors(path, tree):
  """Modules and public classes, functions and methods need a docstring."""
  errors = [] if ast.get_docstring(tree) else [f'{path}: module docstring']
  nodes = list(tree.body)
  while nodes:
    node = nodes.pop(0)
    definition = isinstance(node, (ast.ClassDef, ast.FunctionDef))
    if definition and not node.name.startswith('_'):
      if not ast.get_docstring(node):
        errors.append(f'{path}: docstring of {node.name}')
      if isinstance(node, ast.ClassDef):
        nodes.extend(node.body)
  return errors


def leaves(mapping, prefix=''):
  """Dotted paths of a nested config."""
  for key, value in mapping.items():
    if isinstance(value, dict) and value:
      yield from leaves(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}'


def load(name):
  """A file of `configs/` as plain dicts."""
  return yaml.YAML(typ='safe').load(ROOT / 'configs' / name) or {}


def names_used(trees):
  """Names a program reads by: attributes, keywords, strings; parameters."""
  used, parameters = set(), set()
  for node in (node for tree in trees for node in ast.walk(tree)):
    match node:
      case ast.Attribute(attr=name) | ast.keyword(arg=name):
        used.add(name)
      case ast.Constant(value=str(text)) if re.fullmatch(r'[\w.]+', text):
        used.update(text.split('.'))
      case ast.arg(arg=name):
        parameters.add(name)
  return used, parameters


def unread_keys(config, trees):
  """Config leaves that no source can be reading.

  The first part of a path must be used by name. Deeper parts may also be
  parameters, because groups are splatted into constructors.
  """
  used, parameters = names_used(trees)
  return [path for path in leaves(config)
          if path.split('.')[0] not in used
          or set(path.split('.')[1:]) - used - parameters]


def uncommented_lines(text):
  """Lines with a key but no comment on them or above them in their block.

  A comment counts for the lines under it that are not less indented, until
  the next blank line.
  """
  lines, level = [], None
  for line in text.splitlines():
    indent = len(line) - len(line.lstrip())
    if not line.strip() or (level is not None and indent < level):
      level = None
    if line.lstrip().startswith('#'):
      level = indent
    elif re.match(r'\s*[\w.\-]+:', line):
      if ' #' not in line and level is None:
        lines.append(line)
  return lines


@pytest.mark.parametrize('path', LIBRARY + BENCHMARKS + TESTS)
def test_module_follows_the_rules(path):
  text = (ROOT / path).read_text()
  tree = ast.parse(text)
  errors = [*import_errors(path, tree), *construct_errors(path, tree),
            *size_errors(path, text, tree)]
  if path not in TESTS:
    errors += docstring_errors(path, tree)
  assert not errors, '\n'.join(errors)


def test_every_config_key_is_read():
  trees = [ast.parse((ROOT / path).read_text()) for path in LIBRARY]
  assert not unread_keys(load('defaults.yaml'), trees)


def test_every_config_key_is_explained():
  text = (ROOT / 'configs' / 'defaults.yaml').read_text()
  assert not uncommented_lines(text)


@pytest.mark.parametrize('name', OVERLAYS)
def test_overlay_only_overrides(name):
  assert not set(leaves(load(name))) - set(leaves(load('defaults.yaml')))


@pytest.mark.parametrize('path, code', [
    ('envs/a.py', 'import tensorflow as tf'),
    ('envs/a.py', 'def f():\n  from tf_keras import layers'),
    ('envs/a.py', 'from dreamerv2_base import replay'),
    ('tests/envs/test_a.py', 'import tensorflow'),
    ('dreamerv2_base/a.py', 'import envs.worker'),
    ('dreamerv2_base/a.py', 'from coworld_tf import pair'),
    ('coworld_tf/a.py', 'import train'),
    ('coworld_tf/a.py', 'from tests import tools'),
    ('coworld_tf/stages/a.py', 'import numpy as np'),
    ('coworld_tf/stages/a.py', 'from dreamerv2_base import returns'),
    ('coworld_tf/analysis/a.py', 'from coworld_tf import trainer'),
    ('coworld_tf/analysis/a.py', 'from coworld_tf.trainer import Trainer'),
    ('coworld_tf/a.py', 'from benchmarks import machine'),
    ('benchmarks/a.py', 'import train'),
])
def test_wrong_import_is_found(path, code):
  assert import_errors(path, ast.parse(code))


@pytest.mark.parametrize('code', [
    'def f():\n  global x\n  x = 1', 'from . import a', 'from .a import b',
    'from a import *', 'import sys\nsys.path.append(".")',
    'from sys import path', 'try:\n  f()\nexcept:\n  g()',
    'x = y and False', 'if False:\n  f()', 'x = 1 if True else 2',
    'print(1)',
])
def test_banned_construct_is_found(code):
  assert construct_errors('a.py', ast.parse(code))


def test_size_limits_are_exact():
  def errors(lines):
    text = 'def f():\n' + '  x = 1\n' * (lines - 1)
    return len(size_errors('a.py', text, ast.parse(text)))
  assert [errors(n) for n in (60, 61, 300, 301)] == [0, 1, 1, 2]


def test_missing_docstring_is_found():
  code = 'class A:\n  def f(self):\n    pass\n\ndef g():\n  pass'
  private = '"""Doc."""\ndef _f():\n  pass\nclass _A:\n  def f(self): pass'
  assert len(docstring_errors('a.py', ast.parse(code))) == 4
  assert not docstring_errors('a.py', ast.parse(private))


def test_allowed_code_passes():
  program = ast.parse('import sys\ndef main():\n  print(sys.argv)')
  assert not construct_errors('a.py', program)
  assert not construct_errors('a.py', ast.parse('print(1, file=f)'))
  assert not import_errors('train.py', ast.parse('from coworld_tf import x'))
  assert not import_errors(
      'coworld_tf/stages/a.py', ast.parse('import tensorflow as tf'))


def test_unread_key_is_found():
  config = {'seed': 0, 'lost': 1, 'rssm': {'deter': 1, 'gone': 2}}
  code = 'def f(deter, lost):\n  pass\nf(**c.rssm)\nc["seed"]'
  assert unread_keys(config, [ast.parse(code)]) == ['lost', 'rssm.gone']


def test_uncommented_key_is_found():
  text = ('# Above.\nrssm:\n  deter: 1\n\n'
          'a: 1  # Here.\nb: 2\nc:\n  # Inner.\n  d: 3\ne: 4\n')
  assert uncommented_lines(text) == ['b: 2', 'c:', 'e: 4']
