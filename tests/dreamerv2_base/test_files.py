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


@pytest.fixture
def summed(tmp_path):
  (tmp_path / 'deep' / 'er').mkdir(parents=True)
  for name in ('a', 'b c', 'deep/er/d'):
    (tmp_path / name).write_bytes(name.encode())
  files.write_checksums(tmp_path)
  return tmp_path


def test_checksums_are_those_of_sha256sum(summed):
  files.check_checksums(summed)
  assert len((summed / files.CHECKSUMS).read_text().splitlines()) == 3
  command = ['sha256sum', '--check', '--strict', files.CHECKSUMS]
  assert not subprocess.run(command, cwd=summed, check=True).returncode
  files.write_checksums(summed)
  files.check_checksums(summed)


@pytest.mark.parametrize('fault, words', [
    (lambda x: (x / 'deep/er/d').write_bytes(b'deep/er/e'), 'er/d: damaged'),
    (lambda x: (x / 'a').unlink(), 'a: missing'),
    (lambda x: (x / 'deep' / 'new').touch(), 'new: not in SHA256SUMS'),
    (lambda x: (x / files.CHECKSUMS).unlink(), 'SHA256SUMS: missing'),
    (lambda x: (x / files.CHECKSUMS).write_bytes(b'x\n'), 'has lines other'),
    (lambda x: (x / files.CHECKSUMS).write_bytes(b'\xff'), 'has lines other'),
    (lambda x: (x / files.CHECKSUMS).write_text('0  /dev/zero\n'), 'missing'),
    (lambda x: (x / files.CHECKSUMS).write_text(''), 'a: not in SHA256SUMS'),
    (lambda x: (x / 'a').unlink() or (x / 'a').symlink_to('/dev/zero'),
     'a: is a link')])
def test_wrong_checksums_are_refused(fault, words, summed):
  fault(summed)
  with pytest.raises(ValueError, match=words) as info:
    files.check_checksums(summed)
  assert '\n' not in str(info.value)
