"""Cases that take a whole agent, in the order of the data.

A case gives {'value/...': array, 'gradient/...': array}; the gradients are
those of a fixed projection of all outputs to all weights and float inputs.
"""

import itertools

import tensorflow as tf

from tests.parity import fixed, measure

LOSSES = {
    'model_loss', 'kl_loss', 'image_loss', 'vector_loss', 'reward_loss',
    'discount_loss', 'actor_loss', 'critic_loss', 'model_grad_norm',
    'actor_grad_norm', 'critic_grad_norm', 'model_kl', 'prior_ent',
    'post_ent', 'critic', 'critic_target', 'actor_ent', 'reward_mean',
    'reward_std', 'reward_normed_mean', 'actor_ent_scale', 'actor_grad_mix'}


def preprocess(agent):
  """Images, rewards and discounts as the networks get them."""
  data = agent.preprocess(measure.batch(agent, 0))
  return {f'value/{key}': x.numpy() for key, x in data.items()}


def encoder(agent):
  """Encoder: embeddings."""
  data = agent.preprocess(measure.batch(agent, 0))
  obs = {key: data[key] for key in agent.obs_space}
  return measure.differentiate(
      lambda obs: {'embed': agent.encoder(obs)}, agent.variables('encoder'),
      obs=obs)


def decoder(agent):
  """Decoder: distributions of observations."""
  data = agent.preprocess(measure.batch(agent, 0))
  def run(feat):
    outs = {}
    for key, dist in agent.decoder(feat).items():
      outs |= measure.statistics(key, dist, data[key])
    return outs
  feat = agent.rssm.get_feat(measure.state(agent, 'post', measure.LEAD))
  return measure.differentiate(run, agent.variables('decoder'), feat=feat)


def heads(agent):
  """Heads: reward, discount, actor and critic."""
  feat = agent.rssm.get_feat(measure.state(agent, 'post', measure.LEAD))
  action = measure.numbers('action', [*measure.LEAD, measure.ACTION])
  if hasattr(agent.act_space, 'n'):
    action = tf.one_hot(tf.argmax(action, -1), measure.ACTION)
  values = {
      'reward': measure.numbers('reward', measure.LEAD),
      'discount': tf.constant([[1.0, 0.0, 0.9, 1.0]] * measure.BATCH),
      'actor': action * 0.9, 'critic': measure.numbers('value', measure.LEAD)}
  parts = [part for part in values if part in agent.parts]
  def run(feat):
    outs = {}
    for part in parts:
      outs |= measure.statistics(part, agent.parts[part](feat), values[part])
      if part == 'discount':
        outs['discount mean'] = agent.parts[part](feat).mean()
    if agent.config.actor.dist == 'tanh_normal':
      del outs['actor mode']  # Differs on purpose.
    if 'discount mode' in outs:
      outs['discount mode'] = tf.cast(outs['discount mode'], tf.float32)
    return outs
  return measure.differentiate(run, agent.variables(*parts), feat=feat)


def obs_step(agent):
  """RSSM: one filtering step, sampled and not."""
  def run(before, action, embed):
    outs = {}
    for sample in (True, False):
      post, prior = agent.obs_step(
          before, action, embed, tf.constant([False, True]), sample=sample)
      outs |= measure.flat(
          **{f'post {sample}': post, f'prior {sample}': prior})
    return outs
  embed = agent.encoder(agent.preprocess(measure.batch(agent, 0)))[:, 0]
  batch = [measure.BATCH]
  return measure.differentiate(
      run, agent.variables('rssm'), embed=embed,
      before=measure.state(agent, 'before', batch),
      action=measure.numbers('action', [*batch, measure.ACTION]))


def img_step(agent):
  """RSSM: one prediction step, sampled and not, and all prior heads."""
  def run(before, action):
    steps = {
        f'prior {sample}': agent.img_step(before, action, sample=sample)
        for sample in (True, False)}
    return measure.flat(**steps, heads=agent.prior_stats(before['deter']))
  return measure.differentiate(
      run,
      agent.variables('rssm'),
      before=measure.state(agent, 'before', [measure.BATCH]),
      action=measure.numbers('action', [measure.BATCH, measure.ACTION]))


def observe(agent):
  """RSSM: filtering of sequences in which an episode begins."""
  data = measure.batch(agent, 0)
  def run(embed, action):
    post, prior = agent.observe(embed, action, data['is_first'])
    # Upstream draws from the priors as well, which nothing reads.
    prior = {key: x for key, x in prior.items() if key != 'stoch'}
    return measure.flat(post=post, prior=prior)
  return measure.differentiate(
      run, agent.variables('rssm'), action=data['action'],
      embed=agent.encoder(agent.preprocess(data)))


def predict(agent):
  """RSSM: open-loop prediction of sequences."""
  return measure.differentiate(
      lambda action, start: agent.predict(action, start),
      agent.variables('rssm'), action=measure.batch(agent, 0)['action'],
      start=measure.state(agent, 'before', [measure.BATCH]))


def kl_loss(agent):
  """RSSM: balanced KL with all its options."""
  def case(*options):
    def run(post, prior):
      loss, value = agent.rssm.kl_loss(post, prior, *options)
      return {'loss': loss, 'value': tf.stop_gradient(value)}
    return measure.differentiate(
        run, {}, post=measure.state(agent, 'post', measure.LEAD),
        prior=measure.state(agent, 'prior', measure.LEAD))
  return {
      f'{key} {options}': x for options in itertools.product(
          (False, True), (0.8, 0.5), (0.0, 1.0, 50.0), (False, True))
      for key, x in case(*options).items()}


def imagine(agent):
  """Imagination with the actor; no gradient to states before actions."""
  parts = ['rssm', 'actor'] + ['discount'] * ('discount' in agent.parts)
  def run(start):
    seq = agent.imagine(start, measure.batch(agent, 0)['is_terminal'])
    keys = 'stoch', 'deter', 'feat', 'action', 'discount', 'weight'
    return {key: seq[key] for key in keys}
  return measure.differentiate(
      run, agent.variables(*parts), start=measure.state(
          agent, 'post', measure.LEAD))


def behavior(agent):
  """Lambda-returns and the losses of actor and critic."""
  lead = [5, measure.BATCH * measure.LENGTH]
  seq = {
      'feat': agent.rssm.get_feat(measure.state(agent, 'imagined', lead)),
      'action': 0.9 * measure.numbers(
          'imagined action', [*lead, measure.ACTION]),
      'reward': measure.numbers('imagined reward', lead),
      'discount': measure.numbers('discount', lead) * 0.1 + 0.9,
      'weight': measure.numbers('weight', lead) * 0.4 + 0.6}
  target = measure.numbers('target', [4, measure.BATCH * measure.LENGTH])
  agent.set_step(7)  # Inside the schedules.
  def run(seq, target):
    return {
        'returns': agent.returns(seq),
        'actor_loss': agent.actor_loss(seq, target),
        # Upstream leaves it to the tape that features get no gradient.
        'critic_loss': agent.critic_loss(
            {**seq, 'feat': tf.stop_gradient(seq['feat'])}, target)}
  return measure.differentiate(
      run, agent.variables('actor', 'critic', 'slow_critic'), seq=seq,
      target=target)


def policy(agent):
  """Policy: actions over a sequence in which an episode begins."""
  data, results = measure.batch(agent, 0), {}
  for mode in ('train', 'eval'):
    if mode == 'eval' and agent.config.actor.dist == 'tanh_normal':
      continue  # The mode differs on purpose.
    latest = None
    for step in range(measure.LENGTH):
      obs = {key: x[:, step] for key, x in data.items()}
      action, latest = agent.policy(obs, latest, mode)
      results[f'value/{mode} {step}'] = action.numpy()
  return results


def slow_critic(agent):
  """Slow critic: copies of a critic that moves between the updates."""
  results = {}
  critic, slow = (agent.variables(x) for x in ('critic', 'slow_critic'))
  for index in range(7):
    for name, variable in critic.items():
      variable.assign(fixed.weight(f'{index} {name}', variable.shape))
    agent.update_slow_critic()
    results |= {
        f'value/{index} {name}': x.numpy() for name, x in slow.items()}
  return results


def train(agent):
  """Train step: losses and gradients after clipping."""
  agent.set_step(0)
  metrics = agent.train(measure.batch(agent, 0))
  losses = {
      f'value/{key}': float(x) for key, x in metrics.items() if key in LOSSES}
  return losses | {  # From zero, a first moment is a tenth of the gradient.
      f'gradient/{name}': 10 * x.numpy()
      for name, x in agent.moments().items()}


def ten_updates(agent):
  """Train step: losses and changes of variables over ten updates."""
  results, variables = {}, agent.variables(*agent.parts)
  before = {name: x.numpy() for name, x in variables.items()}
  for index in range(10):
    agent.set_step(index)
    metrics = agent.train(measure.batch(agent, index))
    results |= {
        f'value/{index} {key}': float(x) for key, x in metrics.items()
        if key in LOSSES}
  return results | {
      f'value/change of {name}': x.numpy() - before[name]
      for name, x in variables.items()}


CASES = (
    preprocess, encoder, decoder, obs_step, img_step, observe, predict, heads,
    kl_loss, imagine, behavior, policy, train, ten_updates, slow_critic)
