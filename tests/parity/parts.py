"""Cases of parts that do not need an agent."""

import numpy as np
import tensorflow as tf

from tests.parity import measure

UPDATES = 10
SHAPES = {
    'mse': (), 'binary': (), 'onehot': (3,), 'trunc_normal': (3,),
    'tanh_normal': (3,)}


def distributions(side):
  """Distributions on top of a layer."""
  def case(kind, shape):
    head = side.Head(6, shape, dist=kind)
    value = 0.9 * measure.numbers(kind, [measure.BATCH, *shape])
    value = tf.round(tf.abs(value)) if kind == 'binary' else value
    def run(x):
      dist = head(x)
      outs = measure.statistics(kind, dist, value)
      if kind == 'tanh_normal':
        del outs['tanh_normal mode']  # Differs on purpose.
      elif kind != 'binary':
        outs['sample'] = dist.sample()
      return {key: tf.cast(x, tf.float32) for key, x in outs.items()}
    return measure.differentiate(
        run, head.variables(), x=measure.numbers('x', [measure.BATCH, 6]))
  return {
      f'{key} {kind}': x for kind, shape in SHAPES.items()
      for key, x in case(kind, shape).items()}


def sampler(side):
  """Gradient of truncated normal samples, with each side's own noise."""
  loc = measure.numbers('loc', [50])
  scale = 0.6 + 0.5 * measure.numbers('scale', [50])
  with tf.GradientTape(persistent=True) as tape:
    tape.watch([loc, scale])
    sample = side.truncated_normal(loc, scale).sample(seed=(1, 2))
  to_scale = tape.gradient(sample, scale) - (sample - loc) / scale
  return {
      'gradient/to location': tape.gradient(sample, loc).numpy(),
      'gradient/to scale, plus one, minus noise': 1 + to_scale.numpy()}


def lambda_return(side):
  """Lambda-returns."""
  def case(share):
    return measure.differentiate(
        lambda **inputs: {
            'returns': side.lambda_return(**inputs, lambda_=share)},
        {}, reward=measure.numbers('reward', [6, 3]),
        value=measure.numbers('value', [6, 3]),
        discount=measure.numbers('discount', [6, 3]),
        bootstrap=measure.numbers('last', [3]))
  return {
      f'{key} {share}': x for share in (0.0, 0.95, 1.0)
      for key, x in case(share).items()}


def schedule(side):
  """Schedules at their ends, in between and past them."""
  texts = (
      '0.25', 'linear(1,0.1,100)', 'warmup(50,3)', 'exp(1,0.1,30)',
      'horizon(10,100,80)')
  return {
      f'value/{text}': np.array([
          side.schedule(text, tf.constant(step)) for step in
          (0, 1, 30, 80, 100, 1000)]) for text in texts}


def stream_norm(side):
  """Stream norm over five batches."""
  def case(momentum):
    norm = side.norm(momentum=momentum, scale=2.0)
    return {
        f'{key} {index}': x for index in range(5)
        for key, x in measure.differentiate(
            lambda x: {'out': norm(x)[0]}, {},
            x=5 * measure.numbers(f'stream {index}', [4, 3])).items()}
  return {
      f'{key} {momentum}': x for momentum in (1.0, 0.99, 0.0)
      for key, x in case(momentum).items()}


def optimizer(side):
  """Optimizer: ten updates with weight decay, some of them clipped."""
  shapes = {'kernel': [4, 3], 'bias': [3]}
  variables = {
      name: tf.Variable(measure.numbers(name, shape))
      for name, shape in shapes.items()}
  update = side.adam(
      list(variables.values()), lr=1e-2, eps=1e-5, clip=2.0, wd=1e-2)
  goals = {
      name: measure.numbers(f'{name} goal', shape)
      for name, shape in shapes.items()}
  results = {}
  for index in range(UPDATES):
    scale = 0.1 if index % 3 else 1.0
    with tf.GradientTape() as tape:
      loss = scale * tf.add_n([
          tf.reduce_sum((x - goals[name]) ** 2)
          for name, x in variables.items()])
    metrics = update(tape, loss)
    results[f'value/{index} norm'] = metrics['parity_grad_norm'].numpy()
    results |= {
        f'value/{index} {name}': x.numpy() for name, x in variables.items()}
  return results


CASES = distributions, lambda_return, schedule, stream_norm, optimizer
