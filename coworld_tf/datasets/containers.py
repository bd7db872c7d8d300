"""Arrays in npz and hdf5 files of unknown origin.

Nothing is unpickled, no other file is opened, and what would unpack to more
than `BYTES` is refused before it is read, whatever a header says.
"""

import contextlib
import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib

import h5py
import numpy as np
import PIL.Image

BYTES = 2 ** 29  # Of one episode: 43,000 images of 64 x 64 pixels.
# What NumPy, zipfile, h5py and Pillow were seen to raise for thousands of
# files with flipped and missing bytes.
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError,
    NotImplementedError, OSError, PIL.Image.DecompressionBombError,
    RuntimeError, SyntaxError, TypeError, ValueError, lzma.LZMAError,
    struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error)


@contextlib.contextmanager
def npz(path):
  """An open npz file; only its reading belongs into the block.

  Raises:
    ValueError: it is damaged or too large; names the file.
  """
  # Left to itself, NumPy maps an array file and never closes it.
  with path.open('rb') as stream:
    try:
      archive = np.load(stream, allow_pickle=False)
      if isinstance(archive, np.ndarray):
        raise ValueError('one array only')
      # No more than these sizes is ever unpacked.
      _check_size(sum(part.file_size for part in archive.zip.infolist()))
      yield archive
    except _DAMAGE as error:
      raise ValueError(
          f'{path}: not a readable npz archive, truncated or damaged '
          f'({error})') from error


@contextlib.contextmanager
def hdf5(path):
  """An open hdf5 file; only its reading belongs into the block.

  Raises:
    ValueError: it is damaged; names the file.
  """
  try:
    with h5py.File(path, 'r') as file:
      yield file
  except _DAMAGE as error:
    raise ValueError(
        f'{path}: not a readable hdf5 file, truncated or damaged '
        f'({error})') from error


def read(group, key, start=0, stop=None):
  """Rows of an array of an hdf5 file.

  Raises:
    ValueError: there is no such array in this very file, or it is too large.
  """
  item = group[key]
  if not isinstance(item, h5py.Dataset) or not item.shape:
    raise ValueError(f'{key} is no array')
  _check_item(item, group)
  rows = len(range(*slice(start, stop).indices(len(item))))
  _check_size(rows * math.prod(item.shape[1:]) * item.dtype.itemsize)
  return item[start:stop]


def is_image(name, item):
  """Whether an item is raw images, or encoded ones as bytes in rows."""
  if not name.startswith('observations') or not isinstance(
      item, h5py.Dataset):
    return False
  if h5py.check_vlen_dtype(item.dtype) == np.uint8:
    return True
  _check_item(item, item)
  return item.dtype == np.uint8 and item.ndim in (2, 4) and (
      item.ndim == 4 or _encoded(item[0, :4].tobytes()))


def read_images(group, key):
  """Images [N, H, W, C] of raw ones or of JPEG or PNG bytes in rows.

  Raises:
    ValueError: as for `read`, or the images differ in size.
  """
  images = read(group, key)
  if images.ndim == 4:
    return images
  # Other formats would start other programs.
  images = [
      PIL.Image.open(io.BytesIO(row.tobytes()), formats=('JPEG', 'PNG'))
      for row in images]
  sizes = {(*image.size, image.mode) for image in images}
  if len(sizes) > 1:
    raise ValueError(f'{key}: images differ in size: {sorted(sizes)}')
  for width, height, _ in sizes:
    _check_size(4 * width * height * len(images))
  return np.stack([
      np.asarray(image.convert('RGB') if image.mode == 'P' else image)
      for image in images])


def _encoded(start):
  return start[:3] == b'\xff\xd8\xff' or start[1:4] == b'PNG'


def _check_item(item, group):
  """An array must be in the file of its group and unpack to little."""
  if item.file != group.file or item.external or item.is_virtual:
    raise ValueError(f'{item.name} is in another file')
  _check_size(math.prod(item.chunks or ()) * item.dtype.itemsize)


def _check_size(size):
  if size > BYTES:
    raise ValueError(
        f'an episode of {size} bytes, the most is {BYTES}; divide it')
