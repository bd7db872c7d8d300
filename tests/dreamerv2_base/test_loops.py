import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import loops


@pytest.mark.parametrize('unroll', [False, True])
@pytest.mark.parametrize('compiled', [False, True])
def test_scan_returns_all_states(compiled, unroll):
  def run(rows, start, weight):
    with tf.GradientTape() as tape:
      tape.watch(weight)
      states = loops.scan(
          lambda state, inputs: {
              'sum': state['sum'] + weight * inputs['x'][0]},
          {'x': (rows,)}, {'sum': start}, unroll)
      total = tf.reduce_sum(states['sum'])
    return states['sum'], tape.gradient(total, weight)
  if compiled:
    run = tf.function(run, autograph=False)
  rows = tf.constant([[1.0, 2], [3, 4], [5, 6]])
  states, grad = run(rows, tf.constant([10.0, 20]), tf.constant(2.0))
  np.testing.assert_allclose(states, [[12, 24], [18, 32], [28, 44]])
  np.testing.assert_allclose(grad, 1 * 11 + 2 * 7 + 3 * 3)
