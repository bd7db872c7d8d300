"""Inputs that are wrong in all the ways that we could think of."""

import json

from hypothesis import strategies as st

NUMBERS = [
    0, -1, 1, 2, 2 ** 31, 2 ** 63, 2 ** 64, -2 ** 63, 10 ** 30, 10 ** 400,
    0.5, -0.0, 1e300, 1e-300, float('inf'), float('-inf'), float('nan')]
TEXTS = [
    '', ' ', '..', '../../mine/precious', '/etc/passwd', 'mine', '~', 'nan',
    '1e999', '\0', '\x1b[2J', '\r\n', '\u2028', '\ud800', 'ä' * 50,
    'x' * 5000, 'true', 'null', '(', '(a+)+$', 'linear(1,0,0)', '%s%n',
    '__class__', '{0}', '!!python/object/apply:os.system', 'dmc_walker_walk']

numbers = st.sampled_from(NUMBERS) | st.integers() | st.floats()
texts = st.sampled_from(TEXTS) | st.text(max_size=20)
scalars = st.none() | st.booleans() | numbers | texts
# Whatever JSON can say.
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        texts, inner, max_size=4), max_leaves=8)
deep = st.sampled_from(['[', '{"a":', '[{"a":']).map(lambda x: x * 5000)


def dumped(value):
  """JSON of a value, which may have NaN and lone surrogates."""
  return json.dumps(value).encode()


@st.composite
def damaged(draw, contents):
  """Bytes with some flipped, cut, doubled or put in."""
  content = bytearray(draw(contents))
  for _ in range(draw(st.integers(1, 4))):
    place = draw(st.integers(0, max(len(content) - 1, 0)))
    match draw(st.sampled_from('fcdib')):
      case 'f' if content:
        content[place] ^= draw(st.integers(1, 255))
      case 'c':
        del content[place:]
      case 'd':
        content[place:place] = content[place: place + 50]
      case 'i':
        content[place:place] = draw(st.binary(min_size=1, max_size=8))
      case 'b':
        content[place: place + 4] = draw(st.sampled_from(
            [b'\xff' * 4, b'\0' * 4, b'\xff\xff\xff\x7f']))
  return bytes(content)
