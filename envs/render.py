"""The one renderer of all MuJoCo suites."""

import atexit

import mujoco


class Camera:
  """Renders square images of one MuJoCo simulation."""

  def __init__(self, model, data, size, quality, camera):
    """Opens an offscreen renderer and applies the quality to the model.

    Args:
      model: mujoco.MjModel; its visual settings change if quality is 'fast'.
      data: mujoco.MjData to look at.
      size: Height and width in pixels.
      quality: 'exact' or 'fast'.
      camera: Number or name of a camera of the model.

    Raises:
      ValueError: If the model has no such camera.
    """
    names = [model.camera(index).name for index in range(model.ncam)]
    if camera not in names and camera not in range(model.ncam):
      raise ValueError(
          f'camera is {camera!r}: must be a number below {model.ncam} or one '
          f'of {", ".join(names)}')
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
