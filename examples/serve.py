"""Serves an exported policy over HTTP: python examples/serve.py DIR

Speaks the REST API of TensorFlow Serving as far as a policy needs it: predict
with columns, and the status. Clients carry the state, so that any number of
them can share the server. Another address than 127.0.0.1:8501 comes after DIR.
It needs tensorflow and numpy.
"""

import http.server
import json
import sys

import numpy as np
import tensorflow as tf

MODEL = '/v1/models/policy'
STATUS = {'version': '1', 'state': 'AVAILABLE', 'status': {
    'error_code': 'OK', 'error_message': ''}}
KINDS = {'bool': 'b', 'uint8': 'i', 'int32': 'i', 'float32': 'if'}
BYTES, STATES = 2 ** 24, 1024  # At most, of a request.


def tensor(name, value, spec):
  """Returns a JSON value as a tensor; ValueError if it is something else."""
  wanted = f"'{name}' must be {spec.dtype.name} {spec.shape.as_list()}"
  try:
    array = np.array(value)
  except ValueError:
    raise ValueError(f'{wanted}, is ragged') from None
  if array.dtype.kind not in KINDS[spec.dtype.name] or (
      not spec.shape.is_compatible_with(array.shape)):
    raise ValueError(f'{wanted}, is {array.dtype} {list(array.shape)}')
  with np.errstate(over='ignore'):
    cast = array.astype(spec.dtype.as_numpy_dtype)
  if not np.allclose(cast, array, rtol=1e-6, equal_nan=True):
    raise ValueError(f'{wanted}, which cannot hold all of its numbers')
  if name == 'batch' and not 0 < array <= STATES:
    raise ValueError(f"'batch' must be from 1 to {STATES}, is {array}")
  return tf.constant(cast)


def predict(signatures, request):
  """Returns what a request asks for; ValueError if that cannot be."""
  if not isinstance(request, dict) or 'inputs' not in request:
    raise ValueError("the request must be an object with 'inputs'")
  name = request.get('signature_name', 'serving_default')
  if name not in list(signatures):
    raise ValueError(f"'signature_name' must be one of {sorted(signatures)}")
  specs = signatures[name].structured_input_signature[1]
  inputs = request['inputs']
  if len(specs) == 1 and not isinstance(inputs, dict):
    inputs = dict.fromkeys(specs, inputs)
  if not isinstance(inputs, dict) or set(inputs) != set(specs):
    raise ValueError(f"'inputs' must be an object with {sorted(specs)}")
  inputs = {key: tensor(key, inputs[key], specs[key]) for key in specs}
  sizes = {len(inputs[key]) for key in specs if None in specs[key].shape}
  if len(sizes) > 1:
    raise ValueError(f"'inputs' are for several batch sizes: {sorted(sizes)}")
  outputs = signatures[name](**inputs)
  lists = {key: x.numpy().tolist() for key, x in outputs.items()}
  # As TensorFlow Serving does, without the name if there is but one.
  return lists if len(lists) > 1 else lists.popitem()[1]


class Handler(http.server.BaseHTTPRequestHandler):
  """Answers one client, in a thread of its own."""

  protocol_version, timeout, disable_nagle_algorithm = 'HTTP/1.1', 60, True

  def do_GET(self):
    """Tells the status of the model."""
    if self.path != MODEL:
      return self.send_error(404)
    self.answer(200, {'model_version_status': [STATUS]})

  def do_POST(self):
    """Runs a signature."""
    if self.path != f'{MODEL}:predict':
      return self.send_error(404)
    try:
      size = int(self.headers.get('Content-Length', -1))
      if not 0 <= size <= BYTES:
        raise ValueError(f"'Content-Length' must be from 0 to {BYTES}")
      request = json.loads(self.rfile.read(size))
      outputs = predict(self.server.signatures, request)
    except (ValueError, RecursionError) as error:
      return self.send_error(400, str(error))
    self.answer(200, {'outputs': outputs})

  def send_error(self, code, message=None, explain=None):
    """Answers with an error; what is left of the request is not read."""
    self.close_connection = True
    self.answer(code, {'error': message or self.responses[code][0]})

  def answer(self, code, body):
    """Sends a JSON object."""
    body = json.dumps(body).encode()
    self.send_response(code)
    self.send_header('Content-Type', 'application/json')
    self.send_header('Content-Length', str(len(body)))
    if self.close_connection:
      self.send_header('Connection', 'close')
    self.end_headers()
    self.wfile.write(body)

  def log_message(self, *args):
    """Keeps quiet."""


if __name__ == '__main__':
  directory, address = (*sys.argv[1:], '127.0.0.1:8501')[:2]
  host, _, port = address.partition(':')
  with http.server.ThreadingHTTPServer((host, int(port)), Handler) as server:
    server.signatures = tf.saved_model.load(directory).signatures
    print(f'http://{host}:{server.server_port}{MODEL}', flush=True)
    server.serve_forever()
