"""The DreamerV2 agent: acts, learns from batches and shows what it learned."""

import copy

import numpy as np
import tensorflow as tf

from dreamerv2_base import (
  actor_critic,
  dists,
  layers,
  precision,
  stateless,
  transaction,
  world_model,
)


def compiled(function, mode):
  """Wraps a function for execution: eager, graph or xla."""
  if mode == 'eager':
    return function
  return tf.function(
      function, jit_compile=mode == 'xla', autograph=False)


class Agent(tf.Module):
  """World model plus actor-critic.

  `policy`, `train`, `train_model` and `report` are compiled as config.compile
  says. `update` and `update_model` are the bodies of the second and the third,
  for composition into larger compiled steps.
  """

  def __init__(self, config, obs_space, act_space, seed=0):
    """Builds all networks and variables.

    Args:
      config: configuration, see configs/defaults.yaml; a precision that
        it leaves to the machine is settled in `self.config`.
      obs_space: name -> space of observations.
      act_space: space of actions, Box or Discrete.
      seed: of the initial weights and of all noise in training.
    """
    super().__init__()
    config = precision.settled(config)
    self.config, self.seed = config, seed
    init = layers.Init(seed, precision.DTYPES[config.precision])
    self.action_size = int(
        act_space.n if hasattr(act_space, 'n') else act_space.shape[0])
    self.discrete = hasattr(act_space, 'n')
    # Agent steps taken, set by whoever collects data; schedules read it.
    self.step = tf.Variable(0, trainable=False, dtype=tf.int64)
    self.updates = tf.Variable(0, trainable=False, dtype=tf.int64)
    self.wm = world_model.WorldModel(
        config, obs_space, self.action_size, init)
    self.ac = actor_critic.ActorCritic(
        config, self.wm.rssm.feat_size, act_space, self.step, init)
    lists = [
        opt.targets
        for opt in (self.wm.opt, self.ac.actor_opt, self.ac.critic_opt)]
    refs = [var.ref() for variables in lists for var in variables]
    assert len(refs) == len(set(refs)), 'optimizers share variables'
    self.policy = compiled(self._policy, config.compile)
    self.train = compiled(self.update, config.compile)
    self.train_model = compiled(self.update_model, config.compile)
    self.report = compiled(self._report, config.compile)

  def initial(self, batch):
    """Returns the state of the policy before the first observation."""
    return self.wm.rssm.initial(batch), tf.zeros([batch, self.action_size])

  @property
  def acting(self):
    """The networks that act: encoder, RSSM and actor."""
    return self.wm.encoder, self.wm.rssm, self.ac.actor

  def _policy(self, obs, state, seed, mode, networks=None):
    """Chooses actions.

    Args:
      obs: dict of [B, ...] observations.
      state: from the previous call or from `initial`.
      seed: stateless seed.
      mode: 'train' samples states and actions and adds noise, 'eval' takes
        the mode of actions and adds other noise, 'mode' the mode of both.
      networks: copies of `acting` to act with instead.

    Returns:
      Actions [B, A] and the next state.
    """
    latent_seed, act_seed, noise_seed = tf.unstack(stateless.split(seed, 3))
    latent, action = state
    encoder, rssm, actor = networks or self.acting
    embed = encoder(self.wm.scaled(obs))
    sample = mode == 'train' or (
        mode == 'eval' and not self.config.eval_state_mean)
    latent, _ = rssm.obs_step(
        latent, action, embed, obs['is_first'], latent_seed, sample)
    dist = actor(rssm.get_feat(latent))
    if mode == 'train':
      action, noise = dist.sample(seed=act_seed), self.config.expl_noise
    else:
      action = dist.mode()
      noise = self.config.eval_noise if mode == 'eval' else 0.0
    action = self._add_noise(self.ac.masked(action), noise, noise_seed)
    return action, (latent, action)

  def _add_noise(self, action, amount, seed):
    if not amount:
      return action
    if self.discrete:
      probs = amount / self.action_size + (1 - amount) * action
      noise = stateless.uniform([1, *layers.sizes(action, -1)], seed)
      return dists.choose(probs, noise)[0]
    noise = amount * stateless.normal(tf.shape(action), seed)
    return self.ac.masked(tf.clip_by_value(action + noise, -1.0, 1.0))

  def update(
      self, batch, model_terms=None, critic_terms=None, actor_terms=None):
    """Trains world model, then actor, then critic on one batch.

    Args:
      batch: dict of [B, L, ...] as stored in episodes.
      model_terms: extra losses, see WorldModel.loss.
      critic_terms: extra losses, see ActorCritic.train.
      actor_terms: the same of the actor.

    Returns:
      Dict of scalar metrics.
    """
    model_seed, behavior_seed = self.seeds()
    def update():
      outs, metrics = self.wm.train(batch, model_seed, model_terms)
      return {**metrics, **self.ac.train(
          self.wm, outs['post'], batch['is_terminal'], behavior_seed,
          critic_terms, actor_terms)}
    return self.make([self.wm, self.ac], update)

  def update_model(self, batch, model_terms=None):
    """Trains the world model alone on one batch; returns metrics."""
    model_seed, _ = self.seeds()
    return self.make(
        [self.wm], lambda: self.wm.train(batch, model_seed, model_terms)[1])

  def make(self, modules, update):
    """Makes an update as a whole or not at all; it counts in both cases.

    Args:
      modules: parts of the agent that it may change.
      update: function that makes it and returns a dict of scalar metrics.

    Returns:
      The metrics, see transaction.whole.
    """
    variables = [x for module in modules for x in module.variables]
    metrics = transaction.whole(variables, update)
    self.updates.assign_add(1)
    return metrics

  def seeds(self):
    """Returns the seeds of this update's world model and behavior."""
    seed = tf.constant([self.seed, 0], tf.int32)
    seed = stateless.fold_in(seed, self.updates)
    return tf.unstack(stateless.split(seed, 2))

  def _report(self, batch):
    """Returns key -> open-loop prediction video, [L, H, W, C] in [0, 1]."""
    return self.wm.video(batch, self.seeds()[0])


class Twin:
  """Acts as an agent did when it was last followed, whatever it learns since.

  Its copies of the networks are no variables of the agent, nor saved. All it
  does is compiled, so that a thread may act while another one learns.
  """

  def __init__(self, agent):
    """Copies what acts in an agent."""
    copies = copy.deepcopy(agent.acting)
    pairs = [
        pair for ours, theirs in zip(copies, agent.acting, strict=True)
        for pair in zip(ours.variables, theirs.variables, strict=True)]
    def policy(obs, state, seed, mode):
      return agent._policy(obs, state, seed, mode, copies)
    def follow():
      for ours, theirs in pairs:
        ours.assign(theirs)
    mode = agent.config.compile
    self.initial = compiled(agent.initial, mode)
    self.policy, self.follow = compiled(policy, mode), compiled(follow, mode)


class AgentPolicy:
  """An agent as a policy for drivers; each call has a seed of its own."""

  def __init__(self, agent, seed, mode, calls=0):
    """Makes the policy.

    Args:
      agent: the agent to act with, or its Twin.
      seed: of this policy's noise.
      mode: 'train', 'eval' or 'mode'.
      calls: number of calls made before, to go on with their noise.
    """
    self.agent, self.seed, self.mode, self.calls = agent, seed, mode, calls

  def __call__(self, obs, state):
    """Maps stacked observations [n, ...] to actions and the next state."""
    obs = {key: x for key, x in obs.items() if not key.startswith('log_')}
    if state is None:
      state = self.agent.initial(len(obs['is_first']))
    # Calls no operation, as this may run in a thread: see Twin.
    seed = np.array([self.seed, self.calls], np.int32)
    self.calls += 1
    action, state = self.agent.policy(obs, state, seed, self.mode)
    return {'action': action.numpy()}, state
