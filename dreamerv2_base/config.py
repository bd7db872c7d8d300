"""Configurations: YAML files, read-only nested mappings, typed merging."""

import collections.abc
import difflib
import io
import pathlib
import re
import sys

from ruamel import yaml
from ruamel.yaml import comments, composer

from dreamerv2_base import files

# Strings such as '1e-4' or 'linear(1,0,5e5)': a constant or a schedule.
NUMERIC = re.compile(r'[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|\w+\(.*\)', re.I)
# A hundred times what is needed; parsing takes 30 s per MB.
_BYTES = 2 ** 17


class Config(collections.abc.Mapping):
  """Read-only nested mapping: `config.rssm.deter`, `**config.rssm`."""

  def __init__(self, tree):
    """Copies a nested mapping.

    Args:
      tree: mapping of names to bool, int, float, str, flat lists of one of
        these, or mappings of the same kind.

    Raises:
      ValueError: a name is no identifier or a value has another type.
    """
    self.__dict__['_tree'] = {
        _checked_name(name): _checked_value(name, value)
        for name, value in tree.items()}

  def __getitem__(self, name):
    value = self._tree[name]
    return list(value) if isinstance(value, list) else value

  def __getattr__(self, name):
    if name.startswith('_') or name not in self._tree:
      raise AttributeError(f"no configuration key '{name}'")
    return self[name]

  def __setattr__(self, name, value):
    raise AttributeError(f"'{name}' cannot be set, use config.merge")

  def __iter__(self):
    return iter(self._tree)

  def __len__(self):
    return len(self._tree)

  def __repr__(self):
    return f'Config({self.to_dict()})'

  def to_dict(self):
    """A nested dictionary that may be changed freely."""
    return {
        name: value.to_dict() if isinstance(value, Config) else value
        for name, value in self.items()}

  def flat(self):
    """Leaves by dotted key: `{'rssm.deter': 600}`."""
    return {
        key: value for key, value in _leaves(self)
        if not isinstance(value, Config)}


class _Composer(composer.Composer):
  """Refuses tags, and aliases, which can stand for any amount of text."""

  def compose_node(self, parent, index):
    event = self.parser.peek_event()
    if event.anchor or event.tag:
      raise composer.ComposerError(
          None, None, 'anchors (&), aliases (*) and tags (!) are not read '
          'here, write the value itself', event.start_mark)
    return super().compose_node(parent, index)


def load(path):
  """Reads a YAML 1.2 file as a nested dictionary.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: not valid YAML, a duplicate key, not a mapping, or too large.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"configuration file '{path}' does not exist")
  reader = yaml.YAML(typ='safe', pure=True)
  reader.Composer, reader.max_depth = _Composer, 20
  with path.open('rb') as file:
    text = file.read(_BYTES + 1)
  if len(text) > _BYTES:
    raise ValueError(f'{path}: no configuration, larger than {_BYTES} bytes')
  try:
    tree = reader.load(text)
  except yaml.YAMLError as error:
    mark = getattr(error, 'problem_mark', None)
    where = f'{path}, line {mark.line + 1}' if mark else f'{path}'
    problem = getattr(error, 'problem', None) or str(error)
    raise ValueError(f'{where}: {problem.splitlines()[0]}') from None
  except RecursionError:
    raise ValueError(f'{path}: nested too deeply') from None
  except ValueError as error:  # Dates of no calendar and the like.
    raise ValueError(f'{path}: {error}') from None
  if tree is None:
    return {}
  if not isinstance(tree, dict):
    raise ValueError(f"{path}: expected lines of 'key: value'")
  return tree


def merge(base, override, origin):
  """Returns `base` with the values of `override`, checked and converted.

  Args:
    base: Config that names every key and gives its type.
    override: mapping with nested groups or dotted keys, in any mixture.
    origin: where the override comes from, for messages.

  Raises:
    ValueError: unknown or repeated key, wrong type, or a group in place of
      a value.
  """
  flat, tree, seen = base.flat(), base.to_dict(), set()
  for key, value in _leaves(override):
    if key in seen:
      raise ValueError(f"{origin}: key '{key}' is given twice")
    seen.add(key)
    if key in flat:
      *groups, name = key.split('.')
      branch = tree
      for group in groups:
        branch = branch[group]
      branch[name] = _converted(key, flat[key], value, origin)
    elif not (_is_group(base, key) and value == {}):
      raise ValueError(f'{origin}: {_misplaced(base, key, value)}')
  return Config(tree)


def save(config, path):
  """Writes YAML that `load` and `merge` turn into the same Config again."""
  writer, text = yaml.YAML(), io.StringIO()
  writer.width = sys.maxsize
  writer.dump(_commented(config), text)
  with files.replacing(path) as temporary:
    temporary.write_text(text.getvalue(), encoding='utf-8')


def nearest(key, candidates):
  """The candidate most like `key` as a whole or in its last component."""
  key = key[:100]  # The time that it takes grows with the square.
  def likeness(candidate):
    pairs = (key, candidate), (key.split('.')[-1], candidate.split('.')[-1])
    whole, last = (difflib.SequenceMatcher(None, *p).ratio() for p in pairs)
    return max(whole, last), whole
  return max(candidates, key=likeness)


def element(default):
  """Example element of a list; an empty list holds strings."""
  floats = [x for x in default if isinstance(x, float)]
  return (floats or default or [''])[0]


def _leaves(tree, prefix=''):
  """Yields dotted keys with their values; an empty group is a value."""
  for name, value in tree.items():
    key = f'{prefix}{name}'
    if isinstance(value, collections.abc.Mapping) and value:
      yield from _leaves(value, f'{key}.')
    else:
      yield key, value


def _is_group(config, key):
  for name in key.split('.'):
    if not isinstance(config, Config) or name not in config:
      return False
    config = config[name]
  return isinstance(config, Config)


def _misplaced(base, key, value):
  """Says why `key` names no value of `base`."""
  flat = base.flat()
  if _is_group(base, key):
    example = next((leaf for leaf in flat if leaf.startswith(f'{key}.')), key)
    return (
        f"'{key}' is a group and cannot be {_shown(value)}, "
        f"set its keys, for example '{example}'")
  for leaf in flat:
    if key.startswith(f'{leaf}.'):
      return f"'{leaf}' is a single value and has no key '{key}'"
  hint = f", did you mean '{nearest(key, flat)}'?" if flat else ''
  return f"unknown key '{key}'{hint}"


def _converted(key, default, value, origin):
  try:
    return _cast(default, value)
  except TypeError:
    kind = type(default).__name__
    if kind == 'list':
      kind = f'list of {type(element(default)).__name__}'
    value = dict(value) if isinstance(value, Config) else value
    raise ValueError(
        f"{origin}: '{key}' must be {kind}, got {_shown(value)}") from None


def _cast(default, value):
  """`value` as the type of `default`; TypeError where it does not fit."""
  if isinstance(default, list) and isinstance(value, list):
    return [_cast(element(default), x) for x in value]
  kind = type(default)
  if kind in (bool, str) and kind is type(value):
    return value
  if type(value) in (int, float) and abs(value) <= sys.float_info.max:
    if kind is float or (kind is int and value == int(value)):
      return kind(value)
    if kind is str and NUMERIC.fullmatch(default):
      return str(value)
  raise TypeError(value)


def _shown(value):
  try:
    return repr(value)
  except ValueError:  # Python refuses to write it down.
    return 'a number of thousands of digits'


def _checked_name(name):
  if not isinstance(name, str) or not re.fullmatch(
      r'[A-Za-z]\w*', name) or hasattr(Config, name):
    raise ValueError(
        f'{_shown(name)} cannot be the name of a configuration key')
  return name


def _checked_value(name, value):
  if isinstance(value, collections.abc.Mapping):
    return Config(value)
  kinds = {type(x) for x in (value if isinstance(value, list) else [value])}
  if not any(kinds <= same for same in ({int, float}, {bool}, {str})):
    raise ValueError(
        f"configuration key '{name}' cannot hold {_shown(value)}, "
        'only bool, int, float, str or a list of one of them')
  return list(value) if isinstance(value, list) else value


def _commented(value):
  """Groups as blocks and lists on one line."""
  if isinstance(value, Config):
    return {name: _commented(child) for name, child in value.items()}
  if isinstance(value, list):
    value = comments.CommentedSeq(value)
    value.fa.set_flow_style()
  return value
