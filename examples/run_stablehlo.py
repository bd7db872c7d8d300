"""Calls an exported function again and again, by numpy and jaxlib alone.

  python examples/run_stablehlo.py DIR/stablehlo/NAME.json IN.npz OUT.npz

IN.npz has the inputs of all calls by name, [calls, ...]. OUT.npz gets the
outputs like that; of those that feed the next call, only the last.
"""

import json
import pathlib
import sys

import numpy as np
from jaxlib import xla_client

path, rows = pathlib.Path(sys.argv[1]), dict(np.load(sys.argv[2]))
facts = json.loads(path.read_text())
client = xla_client.make_cpu_client()
device = client.local_devices()[0]
function = client.compile_and_load(
    (path.parent / facts['module']).read_bytes(),
    xla_client.DeviceList((device,)), xla_client.CompileOptions())
put = lambda array: xla_client._xla.dlpack_managed_tensor_to_buffer(
    array.copy().__dlpack__(), device, None)
values = np.load(path.parent / facts['values'])
values = {name: put(values[name]) for name in values}
results = {}
for call in range(len(next(iter(rows.values())))):
  values.update({name: put(array[call]) for name, array in rows.items()})
  outputs = function.execute([values[x['name']] for x in facts['inputs']])
  for output, array in zip(facts['outputs'], outputs):
    if 'next' in output:
      values[output['next']] = array
    else:
      results.setdefault(output['name'], []).append(np.asarray(array))
fed = {x['next'] for x in facts['outputs'] if 'next' in x}
np.savez(sys.argv[3], **results, **{x: np.asarray(values[x]) for x in fed})
