import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import schedules


@pytest.mark.parametrize('text, step, expected', [
    ('3e-4', 7, 3e-4), ('-2', 7, -2), (0.5, 7, 0.5),
    ('linear(1, 0.1, 90)', 0, 1), ('linear(1, 0.1, 90)', 30, 0.7),
    ('linear(1, 0.1, 90)', 90, 0.1), ('linear(1, 0.1, 90)', 500, 0.1),
    ('linear(0,2,10)', 5, 1),
    ('warmup(10,4)', 0, 0), ('warmup(10,4)', 5, 2), ('warmup(10,4)', 99, 4),
    ('exp(5,1,10)', 0, 5), ('exp(5,1,10)', 10, 3), ('exp(5,1,10)', 20, 2),
    ('horizon(10,100,90)', 0, 0.9), ('horizon(10,100,90)', 10, 0.95),
    ('horizon(10,100,90)', 200, 0.99),
])
def test_value_at_a_step(text, step, expected):
  value = schedules.schedule(text, step)
  assert value.dtype == tf.float32
  np.testing.assert_allclose(value, expected, 2e-5, 1e-7)


def test_schedule_moves_inside_a_compiled_function():
  step = tf.Variable(0, dtype=tf.int64)
  @tf.function
  def advance():
    step.assign_add(1)
    return schedules.schedule('linear(0,4,4)', step)
  np.testing.assert_allclose(
      [advance() for _ in range(5)], [1, 2, 3, 4, 4], 2e-5)


@pytest.mark.parametrize('text', [
    '', 'cosine(1,2,3)', 'linear(1,2)', 'linear(1,2,3,4)', 'linear(a,b,c)',
    'warmup(1)', 'exp(1,2', 'linear 1 2 3', '1+1'])
def test_anything_else_is_an_error(text):
  with pytest.raises(ValueError, match='not a schedule'):
    schedules.schedule(text, 0)
