"""Files are replaced whole or stay as they were."""

import subprocess
import sys

import pytest

from dreamerv2_base import files


def test_replaces(tmp_path):
  path = tmp_path / 'x.txt'
  for text in ('old', 'new'):
    with files.replacing(str(path)) as temporary:
      assert temporary.parent == tmp_path
      temporary.write_text(text)
    assert path.read_text() == text
  assert list(tmp_path.iterdir()) == [path]


def test_failure_leaves_the_old_file(tmp_path):
  path = tmp_path / 'x.npz'
  path.write_text('old')
  with pytest.raises(RuntimeError):
    with files.replacing(path) as temporary:
      temporary.write_text('half')
      assert list(tmp_path.glob('*.npz')) == [path]
      raise RuntimeError
  assert path.read_text() == 'old'
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('content, message', [
    (b'{"a": ', 'damaged, not valid JSON'), (b'\xff', 'not valid JSON'),
    (b'[1]', 'must hold named values, but is no JSON object')])
def test_json_that_is_none_is_named(tmp_path, content, message):
  path = tmp_path / 'x.json'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f'^{path}: .*{message}') as info:
    files.read_json(path)
  assert '\n' not in str(info.value)


def test_json_is_read(tmp_path):
  path = tmp_path / 'x.json'
  with pytest.raises(FileNotFoundError, match='x.json'):
    files.read_json(path)
  path.write_text('{"a": "ä"}', encoding='utf-8')
  assert files.read_json(str(path)) == {'a': 'ä'}


def test_config_stays_light():
  code = (
      'import sys; from dreamerv2_base import config; '
      'sys.exit(bool({"numpy", "tensorflow"} & set(sys.modules)))')
  assert subprocess.run([sys.executable, '-c', code]).returncode == 0
