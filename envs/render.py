"""The one renderer of all MuJoCo suites."""

import atexit

import mujoco
import numpy as np
from PIL import Image


def find_camera(model, camera, default):
  """Returns the index of a camera of the model.

  Args:
    model: mujoco.MjModel.
    camera: Its number, also as text, or its name; '' takes the default.
    default: Number or name.

  Raises:
    ValueError: If the model has no such camera.
  """
  camera = default if camera == '' else camera
  names = [model.camera(index).name for index in range(model.ncam)]
  if camera in names:
    return names.index(camera)
  if str(camera).isdecimal() and int(camera) < model.ncam:
    return int(camera)
  raise ValueError(
      f'camera is {camera!r}: must be a number below {model.ncam} or one of '
      f'{", ".join(names)}')


def resize(image, size):
  """Returns uint8 [size, size, 3] from uint8 [H, W, 3] or gray [H, W]."""
  image = Image.fromarray(image).convert('RGB')
  return np.array(image.resize((size, size), Image.Resampling.LANCZOS))


class Camera:
  """Renders square images of one MuJoCo simulation."""

  def __init__(self, model, data, size, quality, camera):
    """Opens an offscreen renderer and applies the quality to the model.

    Args:
      model: mujoco.MjModel; its visual settings change if quality is 'fast'.
      data: mujoco.MjData to look at.
      size: Height and width in pixels.
      quality: 'exact' or 'fast'.
      camera: Index of a camera of the model, or a free mujoco.MjvCamera.
    """
    if quality == 'fast':
      # The renderer allocates its buffers by these when it is created.
      model.vis.quality.shadowsize = 0
      model.vis.quality.offsamples = 0
    self._renderer = mujoco.Renderer(model, size, size)
    if quality == 'fast':
      self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    # Before dm_control's own exit hook takes the graphics display away.
    atexit.register(self._renderer.close)
    self._data = data
    self._camera = camera

  def render(self):
    """Returns the current image, uint8 [size, size, 3]."""
    self._renderer.update_scene(self._data, self._camera)
    return self._renderer.render()

  def close(self):
    """Frees the graphics memory."""
    atexit.unregister(self._renderer.close)
    self._renderer.close()
