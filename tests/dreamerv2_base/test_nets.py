import pytest
import tensorflow as tf

from dreamerv2_base import layers, nets

SHAPES = {'image': (64, 64, 3), 'vector': (5,)}


@pytest.mark.parametrize('norm, used', [('none', False), ('layer', True)])
def test_decoder_normalizes_all_but_its_outputs(norm, used):
  decoder = nets.Decoder(
      4, SHAPES, layers.Init(0), mlp_keys='vector', norm=norm, cnn_depth=2,
      mlp_layers=[8, 8])
  found = lambda norms: [isinstance(x, layers.LayerNorm) for x in norms]
  assert found(decoder.norms) == [used] * 3 + [False]
  assert found(decoder.mlp.norms) == [used] * 2
  dists = decoder(tf.ones([2, 3, 4]))
  assert {key: dist.mode().shape for key, dist in dists.items()} == {
      key: (2, 3, *shape) for key, shape in SHAPES.items()}
