"""The parts of an update alone, of our agent and of the official one.

Each is made forward and with its gradient, with respect to its weights and to
whatever it gets from another part that learns by it. Both agents have the
same parts under the same names, so that one function builds them; only ours
are told their noise.
"""

import tensorflow as tf

SEED = 0, 0


def ours(learner, batch):
  """Returns the steps of our agent, see contender.KINDS."""
  seed, wm, ac = tf.constant(SEED), learner.wm, learner.ac
  config = learner.config
  imagine = lambda post: wm.imagine(
      ac.act, post, batch['is_terminal'], config.imag_horizon, seed)
  return build(wm, ac, batch, {
      'observe': lambda embed, obs: wm.rssm.observe(
          embed, obs['action'], obs['is_first'], seed),
      'imagine': imagine,
      'returns': lambda seq, reward: ac.returns({**seq, 'reward': reward}),
      'optimizers': lambda name, tape, loss, modules: {
          'model': wm.opt, 'actor': ac.actor_opt,
          'critic': ac.critic_opt}[name](tape, loss)})


def theirs(learner, batch):
  """Returns the steps of the official agent."""
  wm, ac = learner.wm, learner._task_behavior
  opts = {
      'model': wm.model_opt, 'actor': ac.actor_opt, 'critic': ac.critic_opt}
  wm.loss(batch)  # Makes the variables of the world model.
  return build(wm, ac, batch, {
      'observe': lambda embed, obs: wm.rssm.observe(
          embed, obs['action'], obs['is_first']),
      'imagine': lambda post: wm.imagine(
          ac.actor, post, batch['is_terminal'], learner.config.imag_horizon),
      'returns': lambda seq, reward: ac.target({**seq, 'reward': reward})[0],
      'optimizers': lambda name, tape, loss, modules: opts[name](
          tape, loss, modules)})


def build(wm, ac, batch, calls):
  """Returns {'encoder forward': (step, compiled functions, 1), ...}.

  Args:
    wm: world model of either agent.
    ac: its actor-critic.
    batch: dict of [B, L, ...].
    calls: what the agents are asked differently.
  """
  obs, mean = wm.preprocess(batch), tf.reduce_mean
  embed = wm.encoder(obs)
  post, _ = calls['observe'](embed, obs)
  feat = wm.rssm.get_feat(post)
  seq = calls['imagine'](post)
  ac.critic(seq['feat'])  # Makes its variables, where they are made late.
  target = calls['returns'](seq, wm.heads['reward'](seq['feat']).mode())
  flat = lambda nest: tf.add_n([
      mean(tf.cast(x, tf.float32)) for x in tf.nest.flatten(nest)])
  decode = lambda x: mean(wm.heads['decoder'](x)['image'].log_prob(
      obs['image']))
  behave = lambda x: mean(calls['returns'](
      {**seq, 'feat': x}, wm.heads['reward'](x).mode()))
  value = lambda: mean(ac.critic(
      tf.stop_gradient(seq['feat'][:-1])).log_prob(target))
  parts = {
      'encoder': (lambda: flat(wm.encoder(obs)), [wm.encoder], ()),
      'observe': (
          lambda x: flat(calls['observe'](x, obs)), [wm.rssm], (embed,)),
      'decoder': (decode, [wm.heads['decoder']], (feat,)),
      'imagine': (
          lambda: flat(calls['imagine'](post)['feat']), [ac.actor], ()),
      'returns': (behave, [], (seq['feat'],)),
      'critic': (value, [ac.critic], ())}
  steps = {}
  for name, (function, modules, inputs) in parts.items():
    steps[f'{name} forward'] = function, inputs
    steps[f'{name} gradient'] = gradient(function, modules), inputs
  modules = {
      'model': [wm.encoder, wm.rssm, *wm.heads.values()],
      'actor': [ac.actor], 'critic': [ac.critic]}
  steps['optimizers'] = optimize(calls['optimizers'], modules), ()
  return {name: compiled(*step) for name, step in steps.items()}


def compiled(function, inputs):
  """Returns a step that calls the compiled function."""
  function = tf.function(function, autograph=False)
  return lambda: function(*inputs), [function], 1


def gradient(function, modules):
  """Returns the function's gradient by variables of modules and inputs."""
  def differentiate(*inputs):
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      value = function(*inputs)
    variables = [x for m in modules for x in m.trainable_variables]
    return [
        x for x in tape.gradient(value, [*variables, *inputs])
        if x is not None]
  return differentiate


def optimize(call, modules):
  """Returns a function that updates by a gradient that costs nothing."""
  def step():
    metrics = {}
    for name, parts in modules.items():
      variables = [x for part in parts for x in part.trainable_variables]
      with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(x) for x in variables])
      metrics.update(call(name, tape, loss, parts))
    return metrics
  return step
