"""Metrics as JSON lines and TensorBoard summaries, videos as GIF files."""

import collections
import io
import json
import logging
import math
import os
import pathlib
import re
import sys
import typing

import imageio.v3 as imageio
import numpy as np
import tqdm

from dreamerv2_base import files

LOG = logging.getLogger(__name__)
FPS = 20


class Logger:
  """Collects metrics until `write` puts their means under one step."""

  def __init__(self, logdir, tensorboard=True):
    """Opens or continues the logs of a run.

    Args:
      logdir: folder for metrics.jsonl and videos/, created.
      tensorboard: whether to write TensorBoard summaries as well.
    """
    self._logdir = pathlib.Path(logdir)
    self._logdir.mkdir(parents=True, exist_ok=True)
    self._metrics = self._logdir / 'metrics.jsonl'
    self._tensorboard = TensorBoard(self._logdir) if tensorboard else None
    self._scalars = collections.defaultdict(list)
    self._videos = {}
    self._waiting = None  # What is written after an entry that is left open.

  def scalar(self, name, value):
    """Adds a number to the mean that `write` reports for `name`."""
    value = np.asarray(value, np.float64)
    if value.ndim:
      raise ValueError(f"metric '{name}' is no scalar, shape {value.shape}")
    self._scalars[name].append(value.item())

  def add(self, mapping, prefix=''):
    """Adds every scalar of a mapping as '<prefix>/<name>'."""
    for name, value in mapping.items():
      self.scalar(f'{prefix}/{name}' if prefix else name, value)

  def video(self, name, video):
    """Keeps a video for the next write.

    Args:
      name: metric name; the file is named like it, '/' becoming '_'.
      video: [T, H, W, C] with 1 or 3 channels, uint8 or float in 0..1.

    Raises:
      ValueError: another shape.
    """
    self._videos[name] = encode(name, video)

  def pending(self):
    """Returns the numbers that the next `write` will report, by name."""
    return {name: list(values) for name, values in self._scalars.items()}

  def resume(self, pending):
    """Goes on with what `pending` returned in another process.

    Raises:
      ValueError: it holds something else than lists of numbers.
    """
    for name, values in pending.items():
      if type(values) is not list or {*map(type, values)} - {int, float}:
        raise ValueError(f"pending.json: '{name}' is no list of numbers")
      self._scalars[name].extend(values)

  def write(self, step, **fields):
    """Writes everything collected since the last call.

    Not a number and the infinities become null, which every JSON reader
    accepts and `read_metrics` turns into NaN.

    Args:
      step: integer position on the horizontal axis.
      **fields: further entries of the JSON line, for example the phase.
    """
    scalars = {name: np.mean(x) for name, x in self._scalars.items()}
    entry = int(step), fields, scalars, self._videos
    self._scalars.clear()
    self._videos = {}
    if self._waiting is None:
      self._write(*entry)
    else:
      self._waiting.append(entry)

  def leave_open(self, step, **fields):
    """Leaves room for what is known later; what is written next waits.

    Args:
      step, **fields: as for `write`.

    Returns:
      Function `fill(scalars, gifs, **fields)` that writes these by name, the
      second as of `encode`, what was collected before the call of
      `leave_open`, and then what has waited.
    """
    assert self._waiting is None, 'one entry can be open at a time'
    self._waiting = []
    self.write(step, **fields)
    def fill(scalars, gifs, **more):
      _, _, before, shown = self._waiting[0]
      self._waiting[0] = (
          int(step), {**fields, **more}, {**before, **scalars},
          {**shown, **gifs})
      self._write_waiting()
    return fill

  def close(self):
    """Writes what waits for an entry that is still open; closes the files."""
    self._write_waiting()
    if self._tensorboard:
      self._tensorboard.close()

  def _write_waiting(self):
    waiting, self._waiting = self._waiting, None
    for entry in waiting or []:
      self._write(*entry)

  def _write(self, step, fields, scalars, videos):
    if scalars or fields:
      record = {'step': step, **fields}
      record.update({name: _short(x) for name, x in scalars.items()})
      with self._metrics.open('a', encoding='utf-8') as file:
        file.write(json.dumps(record, allow_nan=False) + '\n')
    for name, gif in videos.items():
      self._save(f'videos/{_stem(name)}-{step}.gif', gif.data)
    if self._tensorboard:
      self._tensorboard.write(step, scalars, videos)

  def _save(self, name, data):
    path = self._logdir / name
    path.parent.mkdir(exist_ok=True)
    with files.replacing(path) as temporary:
      temporary.write_bytes(data)


class TensorBoard:
  """Summaries in an event file; the only part that needs TensorFlow."""

  def __init__(self, logdir):
    import tensorflow as tf
    from tensorboard.plugins.image import metadata
    self._tf = tf
    self._metadata = metadata.create_summary_metadata('', '')
    self._writer = tf.summary.create_file_writer(str(logdir))

  def write(self, step, scalars, videos):
    """Writes scalars and GIFs by name."""
    with self._writer.as_default(step):
      for name, value in scalars.items():
        self._tf.summary.scalar(name, value)
      for name, (height, width, data) in videos.items():
        # An image summary is any encoded image behind its width and height,
        # hence also an animation, which tf.summary.image cannot encode.
        value = [str(width).encode(), str(height).encode(), data]
        self._tf.summary.write(name, value, metadata=self._metadata)
    self._writer.flush()

  def close(self):
    """Closes the event file."""
    self._writer.close()


class TerminalHandler(logging.Handler):
  """Plain lines on standard error that leave a progress bar intact."""

  def emit(self, record):
    """Prints a record above the current progress bar, if any."""
    tqdm.tqdm.write(self.format(record), file=sys.stderr)


def setup_terminal(*packages):
  """Shows on the terminal what this and the given packages log."""
  for name in ('dreamerv2_base', *packages):
    log = logging.getLogger(name)
    log.setLevel(logging.INFO)
    log.propagate = False
    if not any(isinstance(x, TerminalHandler) for x in log.handlers):
      log.addHandler(TerminalHandler())


def read_metrics(path):
  """Reads metrics.jsonl as a list of dicts, null as NaN.

  A last line that is not complete yet is left out.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: another line is broken.
  """
  records = []
  *lines, _ = pathlib.Path(path).read_text(encoding='utf-8').split('\n')
  for number, line in enumerate(lines, 1):
    try:
      record = json.loads(line)
    except json.JSONDecodeError:
      raise ValueError(f'{path}, line {number}: not valid JSON') from None
    records.append({
        name: math.nan if x is None else x for name, x in record.items()})
  return records


def rewind(path, size):
  """Cuts a log back to a size in bytes, where a resumed run goes on.

  A last line that is incomplete then goes as well. What is missing is told.
  """
  path = pathlib.Path(path)
  data = path.read_bytes() if path.exists() else b''
  if len(data) < size:
    LOG.warning(
        'warning: %s: %d of the %d bytes that the checkpoint knows are gone',
        path, size - len(data), size)
  end = data.rfind(b'\n', 0, size) + 1
  if end < len(data):
    os.truncate(path, end)


def _short(value):
  """Seven digits, as many as float32 has, or None where not finite."""
  return float(f'{value:.7g}') if math.isfinite(value) else None


def _stem(name):
  return re.sub(r'[^\w.-]', '_', name)


class Gif(typing.NamedTuple):
  """An encoded video."""
  height: int
  width: int
  data: bytes


def encode(name, video):
  """Encodes a video, which can take seconds.

  Args, Raises: as for `Logger.video`.
  """
  array = np.asarray(video)
  if array.ndim != 4 or array.shape[-1] not in (1, 3) or not array.size:
    raise ValueError(
        f"'{name}' must be [T, H, W, C] with 1 or 3 channels, "
        f'got shape {array.shape}')
  if array.dtype != np.uint8:
    array = np.rint(255 * np.clip(array.astype(np.float32), 0, 1))
  pixels = np.array(
      np.broadcast_to(array, (*array.shape[:-1], 3)), np.uint8)
  stream = io.BytesIO()
  imageio.imwrite(
      stream, pixels, extension='.gif', plugin='pillow', loop=0,
      duration=1000 / FPS)
  return Gif(*pixels.shape[1:3], stream.getvalue())
