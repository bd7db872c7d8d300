"""Episodes to look at in a comparison, as small GIFs."""

import io
import struct
import typing

import imageio.v3 as imageio
import numpy as np
from PIL import Image

from dreamerv2_base import logger

FRAMES, COLORS = 100, 64
# What Pillow raises for files that end early or are no images.
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


class Video(typing.NamedTuple):
  """An episode of the run in the middle of a cell."""
  method: str
  column: tuple
  run: object
  data: bytes  # Of the GIF.


def choose(found):
  """One episode for each method and pair, of the seed in the middle.

  Args:
    found: comparison.Comparison.

  Returns:
    List of Video, and messages on files that are left out.
  """
  chosen, damaged, seen = [], [], set()
  for (method, column), cell in found.cells.items():
    filmed = sorted(
        [run for run in cell.runs if run.video], key=lambda run: run.mean)
    run = filmed[(len(filmed) - 1) // 2] if filmed else None
    if not run or run in seen:
      continue
    seen.add(run)
    try:
      chosen.append(Video(method, column, run, shrink(run.video)))
    except ValueError as error:
      damaged.append(f'left out: {error}')
  return chosen, damaged


def shrink(path):
  """A video as a smaller GIF: fewer frames and colours.

  Returns:
    Bytes of the GIF.

  Raises:
    ValueError: the file is no video.
  """
  try:
    video = imageio.imread(path, plugin='pillow', index=None)
  except DAMAGE as error:
    raise ValueError(f'{path}: no readable video ({error})') from None
  count = min(FRAMES, len(video))
  chosen = np.linspace(0, len(video) - 1, count).round().astype(int)
  first, *others = [
      Image.fromarray(video[index][..., :3]).quantize(COLORS)
      for index in chosen]
  stream = io.BytesIO()
  first.save(
      stream, 'GIF', save_all=True, append_images=others, loop=0,
      duration=1000 / logger.FPS)
  return stream.getvalue()
