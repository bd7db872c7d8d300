"""Weights by the names of the official modules, in both agents."""

import tensorflow as tf

from dreamerv2_base import layers, nets, rssm


def official(module, prefix=''):
  """Returns {name: variable} of an official module and its parts."""
  if type(module).__name__ == 'NormLayer':
    return official(module._layer, prefix) if module._layer else {}
  if not hasattr(module, '_modules'):  # A Keras layer.
    variables = getattr(module, 'variables', [])
    return {
        prefix + x.name.split('/')[-1].split(':')[0]: x for x in variables}
  parts = dict(module._modules)
  if hasattr(module, '_cell'):
    parts['cell/layer'] = module._cell._layer
    parts['cell/norm'] = module._cell._norm
  return {
      name: variable for key, part in sorted(parts.items())
      for name, variable in official(part, f'{prefix}{key}/').items()}


def ours(module, prefix=''):
  """Returns {official name: variable} of a module of this project."""
  if isinstance(module, layers.LayerNorm):
    return {f'{prefix}gamma': module.scale, f'{prefix}beta': module.offset}
  if hasattr(module, 'kernel'):
    return {f'{prefix}kernel': module.kernel, f'{prefix}bias': module.bias}
  if module is tf.identity:  # No normalization.
    return {}
  return {
      name: variable for key, part in sorted(parts(module).items())
      for name, variable in ours(part, f'{prefix}{key}/').items()}


def parts(module):
  """Returns {official name: part} of a module of this project.

  Raises:
    TypeError: the module has no official twin.
  """
  match module:
    case nets.Encoder() | nets.Decoder():
      decoder = isinstance(module, nets.Decoder)
      found = {'convin': module.dense} if module.cnn_keys and decoder else {}
      if module.cnn_keys:
        convs = module.deconvs if decoder else module.convs
        found |= numbered(conv=convs, convnorm=module.norms)
      if module.mlp_keys:
        found |= numbered(dense=module.mlp.layers, densenorm=module.mlp.norms)
      if module.mlp_keys and decoder:
        found |= {f'dense_{key}': x for key, x in module.outs.items()}
      return found
    case nets.MLP():
      stack = module.stack
      return numbered(dense=stack.layers, norm=stack.norms) | {
          'out': module.out}
    case nets.DistLayer():
      has_std = module.kind in module.STD
      return {'out': module.mean} | ({'std': module.std} if has_std else {})
    case rssm.RSSM():
      names = ('img_in', 'img_in_norm', 'obs_out', 'obs_out_norm', 'obs_dist')
      return {name: getattr(module, name) for name in names} | numbered(
          img_out_=module.img_out, img_out_norm_=module.img_out_norm,
          img_dist_=module.img_dist) | {
              'cell/layer': module.cell.layer, 'cell/norm': module.cell.norm}
  raise TypeError(f'{module} has no official twin')


def numbered(**lists):
  """Returns {'conv0': ..., 'conv1': ...} of lists."""
  return {
      f'{name}{index}': part for name, parts in lists.items()
      for index, part in enumerate(parts)}
