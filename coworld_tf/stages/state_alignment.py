"""Stage A: the target encoder learns a source encoder's view (Eq. 3, 12)."""

import tensorflow as tf


def state_alignment(embed, peer_embed, reduction='time_sum'):
  """KL from the peer's softmaxed embedding to ours, of the same images.

  The gradient with respect to `embed` is softmax(embed) - softmax(peer_embed),
  divided by B or by B * L.

  Args:
    embed: [B, L, E] embedding of the agent that learns.
    peer_embed: [B, L, E] embedding of its peer, taken as constant.
    reduction: 'time_sum' sums over L and averages over B, as the released
      code does; 'mean' averages over both, as Eq. 3 is written.

  Returns:
    Scalar in nats, float32 or wider.

  Raises:
    ValueError: the reduction is unknown or the shapes differ.
  """
  if embed.shape != peer_embed.shape:
    raise ValueError(
        f'embeddings differ in shape: {embed.shape}, {peer_embed.shape}')
  wide = tf.float64 if embed.dtype == tf.float64 else tf.float32
  ours = tf.nn.log_softmax(tf.cast(embed, wide))
  peer = tf.nn.log_softmax(tf.stop_gradient(tf.cast(peer_embed, wide)))
  kl = tf.reduce_sum(tf.exp(peer) * (peer - ours), -1)
  if reduction == 'time_sum':
    return tf.reduce_mean(tf.reduce_sum(kl, 1))
  if reduction == 'mean':
    return tf.reduce_mean(kl)
  raise ValueError(
      f"align.reduction: '{reduction}', use time_sum or mean")


def distances(embed, peer_embeds, reduction='time_sum'):
  """Divergences of the views of several sources from the target's (Eq. 12).

  Args:
    embed: [B, L, E] embedding of the target.
    peer_embeds: list of embeddings [B, L, E], one of each of N sources.
    reduction: as for `state_alignment`.

  Returns:
    [N] in nats, constant: no gradient.
  """
  return tf.stop_gradient(tf.stack([
      state_alignment(embed, peer, reduction) for peer in peer_embeds]))


def nearest(distances):
  """Index of the smallest of N distances, the lowest on ties (omega).

  What is not a number counts as the largest.
  """
  # tf.argmin does not promise an order among ties.
  count = distances.shape[0]
  distances = tf.where(
      tf.math.is_nan(distances), distances.dtype.max, distances)
  smallest = distances == tf.reduce_min(distances)
  return tf.reduce_min(tf.where(smallest, tf.range(count), count))
