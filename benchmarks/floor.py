"""The least time of one training update: its products at the best rate.

Counted are the matrix products and convolutions, a multiplication and an
addition being two operations, of an agent that sees images and acts in a box:
every network once where it is needed, the actor's evaluation in imagination
serving its entropy too, and of gradients those that the losses ask for.

    part      rows    gradients to
    encoder   B L     weights, inputs of all layers but the first
    observe   B L     weights, inputs
    decoder   B L     weights, inputs
    reward    B L     weights, inputs
    imagine   H B L   inputs
    actor     H B L   weights, inputs of all layers but the first
    returns   H B L   inputs, of the reward head and the slow critic
    critic    H B L   weights, inputs of all layers but the first

Of the H + 1 imagined states returns need the rewards of all but the last and
the values of all but the first. The first return does not depend on actions,
so that the gradient needs rewards from the second state on and values from
the third on: H - 1 of each.
"""

import itertools
import math
import time

from dreamerv2_base import precision as precisions

# Of the square products tried, and how often each.
SIZES, TRIES = (1024, 1536, 2048, 3072), 4
ENOUGH = 10 ** 11  # Operations of a step, which makes products until then.


def operations(config, action):
  """Counts the operations of one update.

  Args:
    config: configuration, see configs/defaults.yaml.
    action: size of the action.

  Returns:
    {part: {'forward', 'inputs', 'weights': number}}, the last two of the
    gradients with respect to these.
  """
  rssm, actor, critic = config.rssm, config.actor, config.critic
  convs = encoder(config)
  flat = rssm.stoch * (rssm.discrete or 1)
  feat, stats = flat + rssm.deter, flat if rssm.discrete else 2 * rssm.stoch
  embed = embedding(config)
  prior = rssm.ensemble * (rssm.deter + stats) * rssm.hidden
  predict = [
      (flat + action) * rssm.hidden,
      (rssm.hidden + rssm.deter) * 3 * rssm.deter, prior]
  filtering = [(rssm.deter + embed + stats) * rssm.hidden]
  reward = mlp(config.reward_head, feat, 1)
  value, policy = mlp(critic, feat, 1), mlp(actor, feat, 2 * action)
  images = decoder(config, feat)
  rows = math.prod(config.dataset.values())
  dreamt = config.imag_horizon * rows
  parts = {
      'encoder': part(rows, convs, convs[1:], convs),
      'observe': part(rows, *[predict + filtering] * 3),
      'decoder': part(rows, *[images] * 3),
      'reward': part(rows, *[reward] * 3),
      'imagine': part(dreamt, predict, predict, []),
      'actor': part(dreamt, policy, policy[1:], policy),
      'returns': part(
          dreamt, *[reward + value] * 2, [], later=dreamt - rows),
      'critic': part(dreamt, value, value[1:], value)}
  if config.pred_discount:
    discount = mlp(config.discount_head, feat, 1)
    parts['discount'] = part(rows, *[discount] * 3)
    # That of the first state is in the data, that of the last is unused.
    parts['imagined discount'] = part(dreamt - rows, *[discount] * 2, [])
  return parts


def total(parts):
  """Returns the sum of all operations."""
  return sum(sum(counts.values()) for counts in parts.values())


def part(rows, forward, inputs, weights, later=None):
  """Returns counts of a part.

  Args:
    rows: how often its layers are applied.
    forward: multiplications of each layer per row.
    inputs: those whose gradient with respect to the input is needed.
    weights: the same for weights.
    later: rows that have a gradient, if not all.
  """
  behind = 2 * (rows if later is None else later)
  return {
      'forward': 2 * rows * sum(forward), 'inputs': behind * sum(inputs),
      'weights': behind * sum(weights)}


def mlp(head, inputs, outputs):
  """Returns the multiplications of each layer of a head."""
  widths = [inputs, *[head.units] * head.layers, outputs]
  return [left * right for left, right in itertools.pairwise(widths)]


def encoder(config):
  """Returns the multiplications of each convolution of the encoder."""
  size, inputs, counts = config.size, 3, []
  for index, kernel in enumerate(config.encoder.cnn_kernels):
    depth = 2 ** index * config.encoder.cnn_depth
    size = (size - kernel) // 2 + 1
    counts.append(size ** 2 * kernel ** 2 * inputs * depth)
    inputs = depth
  return counts


def embedding(config):
  """Returns the size of the embedding of an image."""
  size, kernels = config.size, config.encoder.cnn_kernels
  for kernel in kernels:
    size = (size - kernel) // 2 + 1
  return size ** 2 * 2 ** (len(kernels) - 1) * config.encoder.cnn_depth


def decoder(config, feat):
  """Returns the multiplications of each layer of the decoder."""
  kernels, depth = config.decoder.cnn_kernels, config.decoder.cnn_depth
  size, inputs = 1, 32 * depth
  counts = [feat * inputs]
  for index, kernel in enumerate(kernels):
    last = index == len(kernels) - 1
    outputs = 3 if last else 2 ** (len(kernels) - index - 2) * depth
    counts.append(size ** 2 * kernel ** 2 * inputs * outputs)
    size, inputs = 2 * (size - 1) + kernel, outputs
  return counts


def product(precision):
  """Finds the size at which square products are quickest.

  Args:
    precision: '32', '16' or 'bfloat16'.

  Returns:
    A function that makes products of that size, and their operations.
  """
  import tensorflow as tf  # Counting does without.
  dtype, found = precisions.DTYPES[precision], []
  for size in SIZES:
    x = tf.cast(tf.random.stateless_uniform([size, size], [0, 0]), dtype)
    multiply = tf.function(tf.linalg.matmul, autograph=False)
    multiply(x, x)
    seconds = []
    for _ in range(TRIES):
      start = time.process_time()
      multiply(x, x)
      seconds.append(time.process_time() - start)
    found.append((min(seconds) / size ** 3, size, multiply, x))
  _, size, multiply, x = min(found, key=lambda entry: entry[0])

  repeats = math.ceil(ENOUGH / (2 * size ** 3))

  def step():
    for _ in range(repeats):
      y = multiply(x, x)
    return y
  return step, 2 * repeats * size ** 3
