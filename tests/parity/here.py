"""This project's agent behind the interface that the cases use."""

import contextlib
from unittest import mock

import tensorflow as tf

from dreamerv2_base import (
  agent,
  dists,
  layers,
  nets,
  optimizer,
  returns,
  schedules,
  stateless,
  stream_norm,
)
from tests.parity import fixed, names

SEED = tf.constant([0, 0])
RENAMED = {'kl': 'model_kl', 'imag_return': 'critic_target'}


@contextlib.contextmanager
def fixed_noise():
  """Gives samplers the fixed noise instead of random numbers."""
  tensor = lambda draw: lambda shape, seed: tf.constant(
      draw(shape), tf.float32)
  with mock.patch.multiple(
      stateless, uniform=tensor(fixed.uniform), normal=tensor(fixed.normal),
      integer=lambda seed, limit: tf.constant(fixed.head(limit))):
    yield


class Agent:
  """Modules of this project; its twin is `official.Agent`."""

  def __init__(self, config, obs_space, act_space):
    """Builds an agent."""
    self.config = config
    self.obs_space, self.act_space = obs_space, act_space
    self.agent = agent.Agent(config, obs_space, act_space)
    self.wm, self.ac = self.agent.wm, self.agent.ac
    self.rssm, self.preprocess = self.wm.rssm, self.wm.preprocess
    self.encoder, self.decoder = self.wm.encoder, self.wm.heads['decoder']
    self.parts = {
        'encoder': self.encoder, 'rssm': self.rssm, **self.wm.heads,
        'actor': self.ac.actor, 'critic': self.ac.critic,
        'slow_critic': self.ac.slow_critic}

  def build(self, batch):
    """Nothing to do: all variables exist."""

  def variables(self, *parts):
    """Returns {official name: variable} of the named parts."""
    return {
        name: variable for part in parts for name, variable in names.ours(
            self.parts[part], f'{part}/').items()}

  def observe(self, embed, action, is_first):
    """Filters from the zero state."""
    return self.rssm.observe(embed, action, is_first, SEED)

  def obs_step(self, *args, sample=True):
    """Makes one filtering step."""
    return self.rssm.obs_step(*args, SEED, sample)

  def img_step(self, *args, sample=True):
    """Makes one prediction step."""
    return self.rssm.img_step(*args, SEED, sample)

  def prior_stats(self, deter):
    """Returns the parameters of all prior heads."""
    return self.rssm.prior_stats(deter)

  def predict(self, action, state):
    """Predicts a sequence of states."""
    return self.rssm.imagine(action, state, SEED)

  def imagine(self, start, is_terminal):
    """Imagines with the actor."""
    return self.wm.imagine(
        self.ac.act, start, is_terminal, self.wm.config.imag_horizon, SEED)

  def returns(self, seq):
    """Returns lambda-returns of an imagined sequence."""
    return self.ac.returns(seq)

  def actor_loss(self, seq, target):
    """Returns the actor's loss."""
    policy = self.ac.actor.params(tf.stop_gradient(seq['feat'][:-1]))
    return self.ac.actor_loss({**seq, 'policy': policy}, target)[0]

  def critic_loss(self, seq, target):
    """Returns the critic's loss."""
    return self.ac.critic_loss(seq, target)[0]

  def update_slow_critic(self):
    """Counts an update and copies the critic if it is due."""
    self.ac.update_slow_critic()

  def set_step(self, step):
    """Sets the step that schedules read."""
    self.agent.step.assign(step)

  def train(self, batch):
    """Makes one update; returns its metrics."""
    metrics = self.agent.train(batch)
    return {RENAMED.get(key, key): x for key, x in metrics.items()}

  def moments(self):
    """Returns {name: first moment of Adam}."""
    moments = {
        variable.ref(): moment
        for opt in (self.wm.opt, self.ac.actor_opt, self.ac.critic_opt)
        for variable, moment in zip(opt.targets, opt.first, strict=True)}
    parts = [part for part in self.parts if part != 'slow_critic']
    return {
        name: moments[variable.ref()]
        for name, variable in self.variables(*parts).items()}

  def policy(self, obs, state, mode):
    """Returns actions and the next state."""
    state = state or self.agent.initial(len(obs['is_first']))
    return self.agent.policy(obs, state, SEED, mode)


class Head:
  """A distribution on top of one dense layer."""

  def __init__(self, inputs, shape, **options):
    """Builds the layer and deals its weights."""
    self.layer = nets.DistLayer(inputs, shape, layers.Init(0), **options)
    variables = self.variables()
    fixed.load(variables, {
        name: fixed.weight(name, x.shape) for name, x in variables.items()})

  def variables(self):
    """Returns {official name: variable}."""
    return names.ours(self.layer)

  def __call__(self, x):
    """Returns the distribution."""
    return self.layer(x)


def truncated_normal(loc, scale):
  """Returns a normal distribution in (-1, 1)."""
  return dists.TruncatedNormal(loc, scale, -1.0, 1.0)


def lambda_return(reward, value, discount, bootstrap, lambda_):
  """Returns lambda-returns [H, N]."""
  return returns.lambda_return(reward, value, discount, bootstrap, lambda_)


def schedule(text, step):
  """Evaluates a schedule."""
  return schedules.schedule(text, step)


def norm(**options):
  """Returns a function that normalizes a stream."""
  return stream_norm.StreamNorm(**options)


def adam(variables, **options):
  """Returns a function of tape and loss that updates the variables."""
  return optimizer.Optimizer('parity', variables, **options)
