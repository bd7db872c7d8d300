"""Loops over time."""

import tensorflow as tf


def scan(step, inputs, state, unroll=False):
  """Returns all states that a step makes of a state and inputs.

  Args:
    step: function of a state and of the inputs at one time that gives the
      next state, of the same structure, types and shapes.
    inputs: nested tensors [T, ...].
    state: nested tensors [...] before the first step.
    unroll: whether graphs repeat the step T times, instead of a loop. That
      takes longer to compile, and is hardly faster.

  Returns:
    Nested tensors [T, ...].
  """
  if not unroll:
    return tf.scan(step, inputs, state)
  states = []
  for row in zip(*map(tf.unstack, tf.nest.flatten(inputs)), strict=True):
    state = step(state, tf.nest.pack_sequence_as(inputs, row))
    states.append(state)
  return tf.nest.map_structure(lambda *xs: tf.stack(xs, 0), *states)
