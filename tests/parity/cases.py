"""All cases; each runs on the official agent and on this one."""

import pathlib

import gymnasium
import numpy as np

from dreamerv2_base import flags
from tests.parity import agents, fixed, measure, parts

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
BOX = gymnasium.spaces.Box(-1, 1, (measure.ACTION,), np.float32)
CHOICES = gymnasium.spaces.Box(0, 1, (measure.ACTION,), np.float32)
CHOICES.n = measure.ACTION  # As upstream marks spaces of one-hot vectors.
IMAGE = {'image': gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)}
VECTOR = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
NO_IMAGE = {
    'encoder.cnn_keys': '$^', 'encoder.mlp_keys': 'vector',
    'encoder.mlp_layers': [7, 6], 'decoder.cnn_keys': '$^',
    'decoder.mlp_keys': 'vector', 'decoder.mlp_layers': [6, 7]}
AGENTS = {  # Title: observations, actions, configuration.
    'images, discrete state': (IMAGE, BOX, {'kl.free': 0.0}),
    'vectors, Gaussian state, ensemble 5': (VECTOR, BOX, {
        **NO_IMAGE, 'rssm.discrete': 0, 'rssm.ensemble': 5,
        'rssm.std_act': 'sigmoid', 'rssm.norm': 'layer',
        'encoder.norm': 'layer', 'decoder.norm': 'layer',
        'reward_head.norm': 'layer', 'actor.norm': 'layer',
        'pred_discount': True, 'grad_heads': ['decoder', 'reward', 'discount'],
        'actor_grad': 'both', 'actor_grad_mix': 'linear(0.3,0.1,20)',
        'actor_ent': 'linear(0.1,0.01,20)', 'clip_rewards': 'tanh',
        'reward_norm.momentum': 0.9, 'kl.free': 0.1, 'expl_noise': 0.3}),
    'both, discrete state and actions, ensemble 5': (
        IMAGE | VECTOR, CHOICES, {
            'encoder.mlp_keys': 'vector', 'encoder.mlp_layers': [5],
            'decoder.mlp_keys': 'vector', 'decoder.mlp_layers': [5],
            'encoder.norm': 'layer', 'decoder.norm': 'layer',
            'encoder.cnn_depth': 4, 'decoder.cnn_depth': 4,
            'rssm.ensemble': 5, 'pred_discount': True,
            'grad_heads': ['decoder'], 'kl.balance': 0.5, 'kl.free': 0.05,
            'kl.free_avg': False, 'loss_scales.kl': 0.7,
            'loss_scales.discount': 5.0, 'expl_noise': 0.3}),
    'vectors, Gaussian state, tanh actions': (VECTOR, BOX, {
        **NO_IMAGE, 'rssm.discrete': 0, 'rssm.std_act': 'softplus',
        'actor.dist': 'tanh_normal', 'actor.init_std': 0.5,
        'kl.forward': True, 'kl.free': 0.0, 'clip_rewards': 'sign'}),
}
COMMON = {
    'model_opt.clip': 1.5, 'model_opt.wd': 1e-3, 'actor_opt.wd': 1e-3,
    'critic_opt.clip': 1.0, 'slow_target_update': 3,
    'slow_target_fraction': 0.5, 'discount': 0.9}


def run(side):
  """Runs all cases.

  Args:
    side: the module `here` or `official`.

  Returns:
    {'case/agent/value or gradient/name': array}; parts have no agent.
  """
  results = {('sampler', ''): parts.sampler(side)}
  with side.fixed_noise():
    for name in AGENTS:
      agent = build(side, name)
      for case in agents.CASES:
        results[case.__name__, name] = case(agent)
    for case in parts.CASES:
      results[case.__name__, ''] = case(side)
  return {
      f'{case}/{name}/{key}': np.asarray(array, np.float32)
      for (case, name), entries in results.items()
      for key, array in entries.items()}


def build(side, name, deal=True, **override):
  """Builds an agent, with dealt or its own weights and further settings."""
  obs_space, act_space, own = AGENTS[name]
  argv = ['--configs', 'debug']
  for key, value in {**COMMON, **own, **override}.items():
    values = value if isinstance(value, list) else [value]
    argv += [f'--{key}', *map(str, values)]
  agent = side.Agent(flags.parse(argv, CONFIGS), obs_space, act_space)
  agent.build(measure.batch(agent, 0))
  if deal:
    variables = agent.variables(*agent.parts)
    fixed.load(variables, {
        key: fixed.weight(key, x.shape) for key, x in variables.items()})
  return agent


def weights(side):
  """Returns the initial {'agent/name': weight} of all agents."""
  results = {}
  for name in AGENTS:
    agent = build(side, name, deal=False)
    results |= {
        f'{name}/{key}': x.numpy()
        for key, x in agent.variables(*agent.parts).items()}
  return results


def actions(side, weights):
  """Returns the actions {'agent/value/name': array} with these weights."""
  results = {}
  with side.fixed_noise():
    for name in AGENTS:
      agent = build(side, name)
      variables = agent.variables(*agent.parts)
      fixed.load(variables, {
          key: weights[f'{name}/{key}'] for key in variables})
      results |= {
          f'{name}/{key}': x for key, x in agents.policy(agent).items()}
  return results
