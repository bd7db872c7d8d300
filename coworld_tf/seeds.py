"""Seeds of the independent streams of random numbers within a run."""

import numpy as np

(SOURCE_DATA, TARGET_DATA, ALIGNED_DATA, PREFILL, ACTING, COLLECT, EVAL, AGENT,
 SELECT, FISHER) = range(10)


def make(seed, *stream):
  """Returns a seed below 2 ** 31 for a stream of random numbers.

  Args:
    seed: of the run.
    stream: one of the constants, and what tells its parts apart, as many
      numbers for each of them.
  """
  sequence = np.random.SeedSequence((seed, *stream))
  return int(sequence.generate_state(1)[0] // 2)
