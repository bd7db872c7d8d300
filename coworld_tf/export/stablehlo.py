"""Functions as StableHLO, for accelerators without TensorFlow.

A function becomes three files; examples/run_stablehlo.py reads them.

    NAME.mlirbc  the function, a portable artifact of StableHLO for one
                 batch size
    NAME.json    names, types and shapes of its inputs and outputs, in order
    VALUES.npz   first values of all inputs that a caller need not give

Functions are pure. An output that names an input as its `next` is meant to be
that input in the next call: the recurrent state of a policy, and everything
that training changes. Other inputs of the third file are constant.
"""

import json
import re
import types

import numpy as np
import tensorflow as tf
from tensorflow.compiler.mlir.stablehlo import stablehlo

from coworld_tf import cli
from coworld_tf.export import artifact

# Readers of any later version understand the first one that was stable.
VERSION = '1.0.0'
ALIAS = re.compile(
    r'parameter_number = (\d+) : i64\}, output_index = array<i64: (\d+)>')


def write_policy(directory, exported, batch=1):
  """Writes the policy's steps, which share their weights in policy.npz.

  Args:
    directory: folder, which is made.
    exported: policy.Policy.
    batch: batch size.

  Raises:
    ValueError: a step uses what StableHLO does not have.
  """
  signatures, names = exported.signatures(batch), paths(exported.module())
  state = exported.initial_state(batch)
  values = {key: x.numpy() for key, x in state.items()}
  directory.mkdir(exist_ok=True)
  for name in artifact.SIGNATURES.values():
    function = signatures[name]
    specs = {
        spec.name: spec
        for spec in tf.nest.flatten(function.structured_input_signature)
        if isinstance(spec, tf.TensorSpec)}
    facts, weights = _write(
        directory, name, function, specs, names)
    values.update(weights)
    for output in facts['outputs']:
      if output['name'] in state:
        output['next'] = output['name']
    _write_facts(directory, name, {**facts, 'values': 'policy.npz'})
  np.savez(directory / 'policy.npz', **values)


def write_train_step(directory, learner, images):
  """Writes one update of all that a method trains on offline data, or online.

  World model, actor, critic and their optimizers, with the batch size and
  length of the run. It includes the count of agent steps that schedules read.

  Args:
    directory: folder, which is made.
    learner: see coworld_tf/trainer.py.
    images: space of the images.

  Raises:
    ValueError: the update is not one graph, or uses what StableHLO does not
      have.
  """
  learner, agent, train = training(learner)
  size = [agent.config.dataset.batch, agent.config.dataset.length]
  spec = lambda shape, dtype: tf.TensorSpec([*size, *shape], dtype)
  specs = {
      'image': spec(images.shape, tf.uint8),
      'action': spec([agent.action_size], tf.float32),
      'reward': spec([], tf.float32),
      **{key: spec([], tf.bool)
         for key in ('is_first', 'is_last', 'is_terminal')}}
  def step(**batch):
    metrics = train(batch)
    agent.step.assign_add(agent.config.train_every)
    return metrics
  directory.mkdir(exist_ok=True)
  facts, values = _write(
      directory, 'train_step', step, specs, paths(learner))
  _write_facts(directory, 'train_step', {**facts, 'values': 'train_step.npz'})
  np.savez(directory / 'train_step.npz', **values)


def training(learner):
  """Returns what trains, the agent that is trained, and the function.

  Raises:
    ValueError: the update is not one graph.
  """
  if hasattr(learner, 'pairs'):
    if learner.config.multi_source.reselect == 'step' and (
        len(learner.pairs) > 1):
      raise ValueError(
          'stablehlo: with multi_source.reselect step each update chooses '
          'its source outside of the graph')
    learner = learner.pairs[int(learner.selected)]
  if learner.target:
    return learner, learner.target, learner.train_target
  agent, = learner.sources
  return learner, agent, agent.train


def paths(module):
  """Returns reference of each variable -> its path below a module."""
  found = {}
  def visit(value, *path):
    if isinstance(value, tf.Variable):
      found.setdefault(value.ref(), '/'.join(path))
    elif isinstance(value, (tf.Module, types.SimpleNamespace)):
      visit(vars(value), *path)
    elif isinstance(value, dict):
      for key, part in value.items():
        if not str(key).startswith('_'):
          visit(part, *path, str(key))
    elif isinstance(value, (list, tuple)):
      visit(dict(enumerate(value)), *path)
  visit(module)
  return found


def _write(directory, name, function, specs, names):
  """Writes NAME.mlirbc.

  Args:
    directory: folder.
    name: of the file.
    function: of named tensors, returns a dict of tensors.
    specs: name -> tf.TensorSpec of its inputs.
    names: reference of a variable -> name.

  Returns:
    Dict for NAME.json, and the values of all inputs that are not in `specs`.

  Raises:
    ValueError: it uses what StableHLO does not have.
  """
  traced = tf.function(
      lambda **inputs: function(**inputs), autograph=False, jit_compile=True)
  concrete = traced.get_concrete_function(**specs)
  try:
    text = traced.experimental_get_compiler_ir(**specs)(
        stage='stablehlo', platform_name='CPU')
    code = _artifact(_portable(text))
  except ValueError as error:
    reason = str(error).split('\n')[0]
    raise ValueError(f'stablehlo: {name}: {reason}') from None
  (directory / f'{name}.mlirbc').write_bytes(code)
  variables = {id(x.handle): x for x in concrete.variables}
  values = {}
  for index, tensor in enumerate(concrete.captured_inputs):
    found = variables.get(id(tensor), tensor)
    values[names.get(found.ref(), f'captured/{index}')] = found.numpy()
  assert len(values) == len(concrete.captured_inputs), 'names are not unique'
  inputs = _facts(specs) + [
      _fact(key, x.dtype.name, x.shape) for key, x in values.items()]
  outputs = _facts(concrete.structured_outputs)
  for number, index in ALIAS.findall(text):
    assert int(index) == len(outputs), 'outputs are in another order'
    found = inputs[int(number)]
    outputs.append({**found, 'next': found['name']})
  return {
      'module': f'{name}.mlirbc', 'stablehlo': VERSION, 'inputs': inputs,
      'outputs': outputs}, values


def _portable(text):
  """Returns the text of a module without what only TensorFlow's XLA knows."""
  # Places in the source code, and which buffers may be reused.
  text = re.sub(r'^#loc.*\n', '', text, flags=re.MULTILINE)
  text = re.sub(r' loc\(([^()"]|"[^"]*"|\([^()]*\))*\)', '', text)
  text = re.sub(r'^module .*\{$', 'module {', text, flags=re.MULTILINE)
  # As values, copies are what they copy.
  text = re.sub(
      r'mhlo\.copy (\S+) : (\S+)', r'stablehlo.reshape \1 : (\2) -> \2', text)
  # XLA knows the error function by this name in portable artifacts.
  text = re.sub(
      r'mhlo\.erf (\S+) : (\S+)',
      r'stablehlo.custom_call @mhlo.erf(\1) {mhlo.attributes = {}, '
      r'mhlo.version = 1 : i64} : (\2) -> \2', text)
  missing = re.findall(
      r'\bc?m?hlo\.\w+(?= %)|custom_call @(?!mhlo\.erf\()\w+', text)
  if missing:
    raise ValueError(f"StableHLO lacks {', '.join(sorted(set(missing)))}")
  return text


def _artifact(text):
  """Returns the portable artifact of a module."""
  # What is said about an operation that came later has many lines.
  with cli.quiet_loading():
    try:
      return stablehlo.serialize_portable_artifact_str(text, VERSION)
    except ValueError:
      pass
  raise ValueError(f'StableHLO {VERSION} lacks one of the operations')


def _facts(specs):
  return [
      _fact(key, x.dtype.name, x.shape) for key, x in sorted(specs.items())]


def _fact(name, dtype, shape):
  return {'name': name, 'dtype': dtype, 'shape': list(shape)}


def _write_facts(directory, name, facts):
  text = json.dumps(facts, indent=2)
  (directory / f'{name}.json').write_text(text + '\n')
