"""The official agent behind the interface that the cases use.

  python -m tests.parity.official --weights weights.npz --out outputs.npz

runs all cases, in `benchmarks.official.environment()`.
"""

import argparse
import contextlib
import pathlib
import sys
import types
from unittest import mock

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from benchmarks import official
from dreamerv2_base import files
from tests.parity import cases, fixed, names


@contextlib.contextmanager
def fixed_noise():
  """Gives samplers the fixed noise instead of random numbers."""
  def one_hot(self, n, seed=None):
    sums = tf.cumsum(tf.nn.softmax(self.logits_parameter()), -1)
    noise = fixed.uniform([n, *sums.shape[:-1]])[..., None]
    choice = tf.reduce_sum(tf.cast(sums[..., :-1] <= noise, tf.int32), -1)
    return tf.one_hot(choice, sums.shape[-1])

  def normal(self, n, seed=None):
    return self.loc + self.scale * fixed.normal([n, *self.batch_shape])

  def diagonal(self):
    return self.mean() + self.stddev() * fixed.normal(self.mean().shape)

  def truncated(self, n, seed=None):
    # With the gradient of the real sampler: see the case `sampler`.
    unit = tfd.Normal(0.0, 1.0)
    low, high = (
        unit.cdf((x - self.loc) / self.scale) for x in (self.low, self.high))
    share = low + fixed.uniform([n, *self.batch_shape]) * (high - low)
    noise = unit.quantile(tf.clip_by_value(share, 1e-7, 1 - 1e-7))
    return self.loc + self.scale * tf.stop_gradient(noise)

  def head(shape, low, high, dtype):
    return tf.constant(fixed.head(high))

  with (
      mock.patch.object(tfd.OneHotCategorical, '_sample_n', one_hot),
      mock.patch.object(tfd.Normal, '_sample_n', normal),
      mock.patch.object(tfd.MultivariateNormalDiag, 'sample', diagonal),
      mock.patch.object(tfd.TruncatedNormal, '_sample_n', truncated),
      mock.patch.object(tf.random, 'uniform', head)):
    yield


class Agent:
  """Official modules; the twin of `here.Agent`."""

  def __init__(self, config, obs_space, act_space):
    """Builds an agent."""
    self.config = config
    self.obs_space, self.act_space = obs_space, act_space
    modules, common = official.load()
    self.agent = modules.Agent(
        official.config(common, config), obs_space, {'action': act_space}, 0)
    self.wm, self.ac = self.agent.wm, self.agent._task_behavior
    self.rssm, self.preprocess = self.wm.rssm, self.wm.preprocess
    self.encoder, self.decoder = self.wm.encoder, self.wm.heads['decoder']
    self.parts = {
        'encoder': self.encoder, 'rssm': self.rssm, **self.wm.heads,
        'actor': self.ac.actor, 'critic': self.ac.critic,
        'slow_critic': self.ac._target_critic}
    # Corrected upstream after 2.2.0.
    loss = self.ac.actor_loss
    self.ac.actor_loss = lambda seq, target: loss(
        {**seq, 'action': tf.stop_gradient(seq['action'])}, target)

  def build(self, batch):
    """Creates the variables by a pass over a batch."""
    _, _, outs, _ = self.wm.loss(batch)
    for name in ('actor', 'critic', 'slow_critic'):
      self.parts[name](outs['feat'])

  def variables(self, *parts):
    """Returns {official name: variable} of the named parts."""
    return {
        name: variable for part in parts for name, variable in names.official(
            self.parts[part], f'{part}/').items()}

  def observe(self, embed, action, is_first):
    """Filters from the zero state."""
    return self.rssm.observe(embed, action, is_first)

  def obs_step(self, *args, sample=True):
    """Makes one filtering step."""
    return self.rssm.obs_step(*args, sample)

  def img_step(self, *args, sample=True):
    """Makes one prediction step."""
    return self.rssm.img_step(*args, sample)

  def prior_stats(self, deter):
    """Returns the parameters of all prior heads."""
    return self.rssm._suff_stats_ensemble(deter)

  def predict(self, action, state):
    """Predicts a sequence of states."""
    return self.rssm.imagine(action, state)

  def imagine(self, start, is_terminal):
    """Imagines with the actor."""
    return self.wm.imagine(
        self.ac.actor, start, is_terminal, self.wm.config.imag_horizon)

  def returns(self, seq):
    """Returns lambda-returns of an imagined sequence."""
    return self.ac.target(seq)[0]

  def actor_loss(self, seq, target):
    """Returns the actor's loss."""
    return self.ac.actor_loss(seq, target)[0]

  def critic_loss(self, seq, target):
    """Returns the critic's loss."""
    return self.ac.critic_loss(seq, target)[0]

  def update_slow_critic(self):
    """Counts an update and copies the critic if it is due."""
    self.ac.update_slow_target()

  def set_step(self, step):
    """Sets the step that schedules read."""
    self.agent.tfstep.assign(step)

  def train(self, batch):
    """Makes one update; returns its metrics."""
    return self.agent.train(batch)[1]

  def moments(self):
    """Returns {name: first moment of Adam}."""
    optimizers = {
        **dict.fromkeys(
            ['encoder', 'rssm', *self.wm.heads], self.wm.model_opt),
        'actor': self.ac.actor_opt, 'critic': self.ac.critic_opt}
    return {
        name: opt._opt.get_slot(variable, 'm')
        for part, opt in optimizers.items()
        for name, variable in self.variables(part).items()}

  def policy(self, obs, state, mode):
    """Returns actions and the next state."""
    outputs, state = self.agent.policy(obs, state, mode)
    return outputs['action'], state


class Head:
  """A distribution on top of one dense layer."""

  def __init__(self, inputs, shape, **options):
    """Builds the layer and deals its weights."""
    _, common = official.load()
    self.layer = common.DistLayer(shape, **options)
    self.layer(tf.zeros([1, inputs]))
    variables = self.variables()
    fixed.load(variables, {
        name: fixed.weight(name, x.shape) for name, x in variables.items()})

  def variables(self):
    """Returns {official name: variable}."""
    return names.official(self.layer)

  def __call__(self, x):
    """Returns the distribution."""
    return self.layer(x)


def truncated_normal(loc, scale):
  """Returns a normal distribution in (-1, 1)."""
  _, common = official.load()
  return common.TruncNormalDist(loc, scale, -1.0, 1.0)


def lambda_return(reward, value, discount, bootstrap, lambda_):
  """Returns lambda-returns [H, N]."""
  _, common = official.load()
  return common.lambda_return(reward, value, discount, bootstrap, lambda_, 0)


def schedule(text, step):
  """Evaluates a schedule."""
  _, common = official.load()
  return tf.cast(common.schedule(text, step), tf.float32)


def norm(**options):
  """Returns a function that normalizes a stream."""
  _, common = official.load()
  return common.StreamNorm(**options)


def adam(variables, **options):
  """Returns a function of tape and loss that updates the variables."""
  _, common = official.load()
  module = types.SimpleNamespace(variables=variables)
  update = common.Optimizer('parity', **options)
  return lambda tape, loss: update(tape, loss, module)


def main(argv=None):
  """Runs all cases; returns the exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m tests.parity.official',
      description=__doc__.split('\n')[0])
  parser.add_argument(
      '--weights', type=pathlib.Path, required=True,
      help='npz file of weights by agent and official name to load')
  parser.add_argument(
      '--out', type=pathlib.Path, required=True, help='npz file to write')
  args = parser.parse_args(argv)
  tf.config.run_functions_eagerly(True)
  side = sys.modules[__name__]
  outputs = {f'outputs/{key}': x for key, x in cases.run(side).items()}
  own = cases.weights(side)
  outputs |= {f'weights/{key}': x for key, x in own.items()}
  with np.load(args.weights) as given:
    for label, weights in ('own', own), ('given', given):
      outputs |= {
          f'{label}/{key}': x
          for key, x in cases.actions(side, weights).items()}
  with files.replacing(args.out) as temporary, temporary.open('wb') as file:
    np.savez(file, **outputs)
  return 0


if __name__ == '__main__':
  sys.exit(main())
