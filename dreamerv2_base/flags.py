"""Command line: overlays by name, then typed `--key value` overrides."""

import pathlib
import re
import shutil
import sys
import textwrap

from ruamel import yaml

from dreamerv2_base import config as configs


def parse(argv, directory):
  """Merges defaults, the overlays of `--configs` and the other flags.

  Prints a list of all overlays and keys and exits on `-h` or `--help`.

  Args:
    argv: arguments after the program name.
    directory: folder of defaults.yaml and of the overlays, <name>.yaml.

  Raises:
    ValueError: anything wrong with an overlay, flag or value.
    FileNotFoundError: there is no defaults.yaml.
  """
  directory = pathlib.Path(directory)
  defaults = directory / 'defaults.yaml'
  config = configs.Config(configs.load(defaults))
  if '-h' in argv or '--help' in argv:
    sys.stdout.write(_help(directory, config))
    raise SystemExit(0)
  flags = _split(argv)
  overlays = _overlays(directory)
  for name in _values(flags.pop('configs', [])):
    if name not in overlays:
      raise ValueError(f"unknown overlay '{name}'{_hint(name, overlays)}")
    path = overlays[name]
    config = configs.merge(config, configs.load(path), path)
  flat = config.flat()
  for key in flags:
    if not any(leaf == key or leaf.startswith(f'{key}.') for leaf in flat):
      hint = _hint(key, [*flat, 'configs', 'help'], '--')
      raise ValueError(f"unknown flag '--{key}'{hint}")
  override = {
      key: _typed(key, flat[key], texts) if key in flat else texts[0]
      for key, texts in flags.items()}
  return configs.merge(config, override, 'command line')


def _overlays(directory):
  """Paths by overlay name, all but the defaults."""
  paths = sorted(directory.glob('*.yaml'))
  return {path.stem: path for path in paths if path.stem != 'defaults'}


def _hint(name, candidates, prefix=''):
  if not candidates:
    return ''
  return f", did you mean '{prefix}{configs.nearest(name, candidates)}'?"


def _split(argv):
  """Groups arguments by flag: `{'batch': ['16'], 'layers': ['4', '4']}`."""
  flags, key, closed = {}, None, False
  for argument in argv:
    if argument.startswith('--'):
      key, closed, value = argument[2:].partition('=')
      if key in flags:
        raise ValueError(f"flag '--{key}' is given twice")
      flags[key] = [value] if closed else []
    elif key is None or closed:
      raise ValueError(f"unexpected argument '{argument}'")
    else:
      flags[key].append(argument)
  for key, values in flags.items():
    if not values:
      raise ValueError(f"flag '--{key}' needs a value")
  return flags


def _values(texts):
  """Items of several arguments and of comma separated ones."""
  return [x for text in texts for x in text.split(',') if x]


def _typed(key, default, texts):
  """Reads the arguments of a flag as the type of its default value."""
  if isinstance(default, list):
    example = configs.element(default)
    return [_scalar(example, text) for text in _values(texts)]
  if len(texts) > 1:
    raise ValueError(
        f"unexpected argument '{texts[1]}' after '--{key} {texts[0]}'")
  return _scalar(default, texts[0])


def _scalar(default, text):
  """The value that `text` spells, or `text` for `merge` to complain about."""
  if isinstance(default, str):
    return text
  if isinstance(default, bool):
    return {'true': True, 'false': False}.get(text.lower(), text)
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      continue
  return text


def _help(directory, config):
  """Usage, overlays and keys with the comments of their YAML files."""
  program = pathlib.Path(sys.argv[0]).name
  overlays = [
      (name, _first_comment(path))
      for name, path in _overlays(directory).items()]
  remarks = _comments(directory / 'defaults.yaml')
  keys = [
      (f'--{key} {_shown(value)}', remarks.get(key, ''))
      for key, value in config.flat().items()]
  return '\n'.join([
      f'usage: {program} [--configs NAME ...] [--KEY VALUE ...]', '',
      f'Overlays for --configs, merged left to right, from {directory}:',
      *_table(overlays), '',
      'Keys with their default values:', *_table(keys), ''])


def _shown(value):
  """A value as one would type it."""
  if isinstance(value, list):
    return ','.join(str(x) for x in value) or "''"
  return str(value) if value != '' else "''"


def _table(rows):
  """Lines of two columns, the second wrapped to the terminal."""
  left, gap = 32, ' ' * 34
  width = max(60, shutil.get_terminal_size().columns - 1)
  for name, remark in rows:
    name = f'  {name}'
    if len(name) > left and remark:
      yield name
      name = ''
    first = f'{name:{left}}  '
    yield textwrap.fill(
        remark, width, initial_indent=first, subsequent_indent=gap,
        break_long_words=False, break_on_hyphens=False).rstrip() or name


def _first_comment(path):
  lines = path.read_text(encoding='utf-8').splitlines()
  return next((x.lstrip('# ') for x in lines if x.startswith('#')), '')


def _comments(path):
  """Comments by dotted key: behind the key, else in the lines above it.

  Several keys on one line share a comment, which goes to the first of them.
  """
  text = path.read_text(encoding='utf-8')
  lines = text.splitlines()
  first = {}
  for key, number in _key_lines(yaml.YAML().load(text)):
    first.setdefault(number, key)
  return {key: _comment_at(lines, number) for number, key in first.items()}


def _key_lines(tree, prefix=''):
  """Yields the dotted key and line number of every leaf."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _key_lines(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', tree.lc.key(name)[0]


def _comment_at(lines, number):
  behind = re.search(r'\s#\s*(.*)$', lines[number])
  if behind:
    return behind[1].strip()
  above = []
  while number and lines[number - 1].lstrip().startswith('#'):
    number -= 1
    above.insert(0, lines[number].strip().lstrip('# '))
  return ' '.join(above)
