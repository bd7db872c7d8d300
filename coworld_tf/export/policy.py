"""The policy of an agent as functions of plain tensors.

The recurrent state is carried by the caller, all float32:

    deter [B, D], stoch [B, S, C] or [B, S], last_action [B, A]

and a step is

    image [B, H, W, 3] uint8, is_first [B] bool, state -> action, next state

where is_first True forgets the state. Actions are those of the simulator: A
numbers within its bounds, or the number of a choice, int64 [B]. `last_action`
is the same as the agent knows it: from -1 to 1, or one-hot.
"""

import numpy as np
import tensorflow as tf

from coworld_tf.export import artifact
from envs import driver, wrappers


class Policy:
  """An agent's policy for export; compute types stay inside.

  `serving_default` takes the most probable state and action and needs no
  seed. `sample` draws both, as in training. `evaluate` is the policy by which
  runs are judged: it draws the state, unless eval_state_mean, and takes the
  mode of the action. Seeds are int32 [2], another one for each step.
  """

  def __init__(self, agent, images, space):
    """Prepares the functions.

    Args:
      agent: dreamerv2_base.agent.Agent.
      images: space of the images.
      space: action space of the simulator, Box or Discrete. A Box may be
        smaller than the agent's, whose last dimensions are then unused.
    """
    self.agent, self.images, self.space = agent, images, space
    self.discrete = driver.is_discrete(space)
    self.size = driver.action_size(space)

  def module(self):
    """Returns what has to be saved: the networks, without optimizers."""
    module, wm, ac = tf.Module(), self.agent.wm, self.agent.ac
    module.parts = [
        wm.encoder, wm.rssm, wm.heads['decoder'], ac.actor, ac.critic]
    return module

  def signatures(self, batch=None):
    """Returns name -> concrete function, for any or for one batch size."""
    state = self.state_spec(batch)
    image = tf.TensorSpec([batch, *self.images.shape], tf.uint8, 'image')
    is_first = tf.TensorSpec([batch], tf.bool, 'is_first')
    seed = tf.TensorSpec([2], tf.int32, 'seed')
    count = tf.TensorSpec([], tf.int32, 'batch')
    latent = {key: state[key] for key in ('deter', 'stoch')}
    concrete = lambda function, specs: tf.function(
        function, autograph=False).get_concrete_function(**specs)
    step = {'image': image, 'is_first': is_first, **state}
    functions = {
        'initial_state': concrete(self.initial_state, {'batch': count}),
        'value': concrete(self.value, latent),
        'reconstruct': concrete(self.reconstruct, latent)}
    for mode, name in artifact.SIGNATURES.items():
      specs = step if mode == 'mode' else {**step, 'seed': seed}
      functions[name] = concrete(self._step(mode), specs)
    return functions

  def state_spec(self, batch):
    """Returns name -> tf.TensorSpec of the state."""
    shapes = {
        key: x.shape[1:] for key, x in self.initial_state(1).items()}
    return {
        key: tf.TensorSpec([batch, *shape], tf.float32, key)
        for key, shape in shapes.items()}

  def initial_state(self, batch):
    """Returns the state before the first step; is_first does the same."""
    latent, action = self.agent.initial(batch)
    return self._state(latent, action)

  def value(self, deter, stoch):
    """Returns the critic's value of states, {'value': [B]}."""
    feat = self._feat(deter, stoch)
    return {'value': self.agent.ac.critic(feat).mode()}

  def reconstruct(self, deter, stoch):
    """Returns what the decoder sees in states, {'image': [B, H, W, 3]}.

    From 0 to 1, float32.
    """
    image = self.agent.wm.heads['decoder'](self._feat(deter, stoch))['image']
    return {'image': tf.clip_by_value(image.mode() + 0.5, 0.0, 1.0)}

  def _state(self, latent, action):
    return {
        **{key: tf.cast(latent[key], tf.float32)
           for key in ('deter', 'stoch')},
        'last_action': action[:, :self.size]}

  def _feat(self, deter, stoch):
    rssm = self.agent.wm.rssm
    return rssm.get_feat({'deter': deter, 'stoch': stoch})

  def _step(self, mode):
    def step(image, is_first, deter, stoch, last_action, seed=(0, 0)):
      stoch = tf.cast(stoch, self.agent.wm.rssm.dtype)
      latent = {'deter': deter, 'stoch': stoch}
      unused = self.agent.action_size - self.size
      action, (latent, _) = self.agent._policy(
          {'image': image, 'is_first': is_first},
          (latent, tf.pad(last_action, [[0, 0], [0, unused]])),
          tf.convert_to_tensor(seed), mode)
      state = self._state(latent, action)
      return {'action': self._native(state['last_action']), **state}
    return step

  def _native(self, action):
    if self.discrete:
      return tf.argmax(action, -1) + int(self.space.start)
    center, scale = wrappers.center_and_scale(self.space)
    action = action * scale.astype(np.float32) + center.astype(np.float32)
    # Rounded to float32, the sum may be beyond a bound by a little.
    return tf.clip_by_value(action, self.space.low, self.space.high)
