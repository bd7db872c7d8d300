"""What the cases are made of: inputs, and outputs with their gradients."""

import numpy as np
import tensorflow as tf

from tests.parity import fixed

BATCH, LENGTH, ACTION = 2, 4, 3
LEAD = [BATCH, LENGTH]


def batch(agent, index):
  """Returns the batch of that index; some episodes begin or end inside."""
  first, last = np.zeros([2, *LEAD], bool)
  first[:, 0] = first[1, 2] = last[0, -1] = True
  data = {
      'action': numbers(f'action {index}', [*LEAD, ACTION]),
      'reward': numbers(f'reward {index}', LEAD),
      'is_first': tf.constant(first), 'is_last': tf.constant(last),
      'is_terminal': tf.constant(last)}
  for key, space in agent.obs_space.items():
    value = fixed.numbers(f'{key} {index}', [*LEAD, *space.shape])
    if space.dtype == np.uint8:
      value = ((value + 1) * 127).astype(np.uint8)
    data[key] = tf.constant(value)
  return data


def numbers(name, shape):
  """Returns a tensor of fixed numbers."""
  return tf.constant(fixed.numbers(name, shape))


def differentiate(function, variables, **inputs):
  """Returns what a function gives and its gradients.

  Args:
    function: of the inputs, gives a dict of tensors.
    variables: {name: variable}.
    **inputs: tensors or dicts of tensors; float ones get gradients.
  """
  floats = [x for x in tf.nest.flatten(inputs) if x.dtype.is_floating]
  with tf.GradientTape() as tape:
    tape.watch(floats)
    outs = function(**inputs)
    total = tf.add_n([
        # Little cancels.
        tf.reduce_sum(tf.cast(x, tf.float32) * (1 + numbers(key, x.shape)))
        for key, x in outs.items()])
  sources = {**variables, **{f'input{i}': x for i, x in enumerate(floats)}}
  grads = tape.gradient(total, sources, unconnected_gradients='zero')
  return {
      **{f'value/{key}': x.numpy() for key, x in outs.items()},
      **{f'gradient/{key}': x.numpy() for key, x in grads.items()}}


def flat(**trees):
  """Returns {'tree key': leaf} of dicts."""
  return {
      f'{name} {key}': x for name, tree in trees.items()
      for key, x in tree.items()}


def statistics(name, dist, value):
  """Returns log-probability, mode and entropy of a distribution."""
  return {
      f'{name} log_prob': dist.log_prob(value), f'{name} mode': dist.mode(),
      f'{name} entropy': dist.entropy()}


def state(agent, name, lead):
  """Returns a state of the agent's RSSM with the leading dimensions.

  Its types are those of the zero state.
  """
  initial = agent.rssm.initial(1)
  values = {
      key: numbers(f'{name} {key}', [*lead, *x.shape[1:]])
      for key, x in initial.items()}
  if 'std' in values:
    values['std'] = tf.exp(values['std'])
  return {key: tf.cast(x, initial[key].dtype) for key, x in values.items()}
