"""A signal ends a program whatever becomes of what its handler raises."""

import subprocess
import sys

import pytest

from coworld_tf import experiments, interrupts

# As an extension in C does in which a function in Python is called.
CODE = """
import os, signal
from coworld_tf import interrupts
with interrupts.raised():
  try:
    os.kill(os.getpid(), signal.SIGTERM)
  except KeyboardInterrupt:
    raise ValueError('Invalid bounding box') from None
"""


def run(code):
  return subprocess.run(
      [sys.executable, '-c', code], cwd=experiments.ROOT, text=True,
      capture_output=True, timeout=60).stderr.splitlines()[-1]


DELAYED = """
import os, signal
from coworld_tf import interrupts
with interrupts.raised():
  with interrupts.delayed():
    os.kill(os.getpid(), signal.SIGTERM)
    os.write(2, b'saved: ')
"""


def test_error_of_an_extension():
  assert run(CODE) == 'coworld_tf.interrupts.Stopped: SIGTERM'


def test_error_without_a_signal():
  code = CODE.replace('os.kill(os.getpid(), signal.SIGTERM)', 'int("x")')
  assert run(code).startswith('ValueError: invalid literal for int')


def test_delayed_until_something_is_done():
  process = subprocess.run(
      [sys.executable, '-c', DELAYED], cwd=experiments.ROOT, text=True,
      capture_output=True, timeout=60)
  assert process.stderr.startswith('saved: Traceback')
  assert process.stderr.endswith('.Stopped: SIGTERM\n')


SECOND = """
import contextlib, os, signal, threading
from coworld_tf import interrupts
threading.Thread(target=threading.Event().wait).start()
kill = lambda: os.kill(os.getpid(), signal.SIGTERM)
with interrupts.raised():
  try:
    with {}():
      kill()
      {}
  finally:
    kill()
"""


@pytest.mark.parametrize('name, within', [
    ('contextlib.nullcontext', ''), ('interrupts.delayed', ''),
    ('interrupts.delayed', 'kill()')])
@pytest.mark.parametrize('closed', [False, True])
def test_the_second_ends_the_process_whatever_it_does(name, within, closed):
  code = SECOND.format(name, within)
  process = subprocess.run(
      [sys.executable, '-c', f'import os; os.close(2)\n{code}' if closed
       else code], cwd=experiments.ROOT, text=True, capture_output=True,
      timeout=20)
  assert process.returncode == 128 + 15
  assert process.stderr == ('' if closed else f'{interrupts.FAREWELL}\n')
