"""Runs the player of exported policies in a process of its own."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from coworld_tf.export import artifact

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLAYER = pathlib.Path(__file__).with_name('player.py')


class PlayerError(RuntimeError):
  """The process failed; the message is its last words."""


def load(args):
  """Prepares an exported policy.

  Args:
    args: arguments of coworld_tf.evaluate.

  Returns:
    Function of a function of episodes, as for driver.Driver, that plays and
    returns as envs.evaluation does, and facts about the policy.

  Raises:
    ValueError, FileNotFoundError: as artifact.check.
  """
  facts = artifact.check(args.saved_model)
  return lambda on_episode: play(args, on_episode), {
      **{key: facts[key] for key in artifact.FACTS},
      'saved_model': str(args.saved_model)}


def play(args, on_episode):
  """Plays in a process that cannot import the training code."""
  keys = 'episodes', 'envs', 'seed', 'videos'
  # Simulators of the user's own may be found there.
  paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
  with tempfile.TemporaryDirectory() as out, tempfile.TemporaryFile() as log:
    request = {key: getattr(args, key) for key in keys}
    request.update(
        saved_model=str(args.saved_model.resolve()),
        signature=artifact.SIGNATURES[args.mode], out=out)
    with subprocess.Popen(
        [sys.executable, str(PLAYER), json.dumps(request)], cwd=out,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}, text=True,
        stdout=subprocess.PIPE, stderr=log) as process:
      try:
        # Libraries may print other lines.
        episodes = (line for line in process.stdout if line == 'episode\n')
        for number, _ in enumerate(episodes):
          path = pathlib.Path(out) / f'image-{number}.npy'
          image = np.load(path) if path.exists() else None
          on_episode({'image': image}, number)
        process.wait()
      finally:
        process.terminate()
    result = pathlib.Path(out) / 'result.json'
    if process.returncode == 0 and result.exists():
      return json.loads(result.read_text())
    reason = f'status {process.returncode}'
    if process.returncode > 0:
      log.seek(0)
      words = log.read().decode(errors='replace').strip().splitlines()
      reason += f": {' '.join(words[-1:])}"
    raise PlayerError(
        f'{args.saved_model}: the player ended early, {reason}')
