"""Writes the policy of a run as a SavedModel, and checks such a folder."""

import contextlib
import json
import os
import pathlib
import shutil

import tensorflow as tf

from coworld_tf import checkpoints, evaluations, inputs
from coworld_tf.datasets import collect
from coworld_tf.export import artifact
from dreamerv2_base import files
from envs import driver


@contextlib.contextmanager
def replacing(directory):
  """Yields a temporary folder that becomes `directory` at the end.

  After an exception nothing is left of it. Its checksums are written last.
  """
  directory = directory.resolve()  # Not a link that leads there.
  temporary = directory.with_name(f'{directory.name}.{os.getpid()}.tmp')
  temporary.mkdir(parents=True)
  try:
    yield temporary
    files.write_checksums(temporary)
    os.replace(temporary, directory)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def write(directory, exported, facts):
  """Writes SavedModel and metadata into an existing folder.

  Args:
    directory: folder.
    exported: policy.Policy.
    facts: further facts for the metadata, see `describe`.
  """
  signatures = exported.signatures()
  tf.saved_model.save(exported.module(), str(directory), signatures)
  facts = {'format': artifact.FORMAT, **facts, 'signatures': {
      name: {
          'inputs': specs({
              spec.name: spec
              for spec in tf.nest.flatten(function.structured_input_signature)
              if isinstance(spec, tf.TensorSpec)}),
          'outputs': specs(function.structured_outputs)}
      for name, function in sorted(signatures.items())}}
  text = json.dumps(facts, indent=2)
  (directory / artifact.METADATA).write_text(text + '\n')


def specs(tensors):
  """Returns name -> [type, shape] of tensors; None is any size."""
  return {
      name: [tensor.dtype.name, tensor.shape.as_list()]
      for name, tensor in sorted(tensors.items())}


def describe(config, logdir, task, learner, checkpoint, images, space):
  """Returns what metadata.json says of a policy, but for its signatures.

  Args:
    config: configuration of the run.
    logdir: its directory.
    task: that the policy acts in.
    learner: dreamerv2_base.agent.Agent.
    checkpoint: path of the checkpoint.
    images: space of the images.
    space: action space of the simulator.
  """
  if driver.is_discrete(space):
    action = {'choices': int(space.n), 'start': int(space.start)}
  else:
    action = {'low': space.low.tolist(), 'high': space.high.tolist()}
  updates = int(learner.updates)
  return {
      'task': task, 'method': config.method, 'training_seed': config.seed,
      'updates': updates, 'checkpoint': checkpoint.name,
      'precision': config.precision, 'image': list(images.shape),
      'action': action,
      'settings': {key: config[key] for key in inputs.SETTINGS},
      'evaluation': evaluation(config, logdir, checkpoint, updates),
      'versions': collect.versions(), 'config': config.to_dict()}


def evaluation(config, logdir, checkpoint, updates):
  """Returns the last evaluation of a checkpoint, or None.

  That is one of coworld_tf.evaluate, or the last in the course of the run
  that the checkpoint remembers, if no update came after it.
  """
  for path in sorted(logdir.glob('evaluation*/evaluation.json')):
    found = files.read_json(path)
    name = pathlib.Path(str(found.get('checkpoint'))).name
    if (name, found.get('updates')) == (checkpoint.name, updates):
      return found
  domain = 'target' if inputs.target_tasks(config) else 'source'
  facts, path = checkpoints.read(checkpoint), logdir / evaluations.NAME
  data = path.read_bytes() if path.exists() else b''
  size = facts['logs'][evaluations.NAME]
  if facts['return'] is not None:  # By the evaluation that followed.
    size = max(size, data.find(b'\n', size) + 1)
  records = [
      record for record in map(json.loads, data[:size].splitlines())
      if record['policy'] == domain
      and record[f'{domain}_updates'] == updates]
  return records[-1] if records else None
