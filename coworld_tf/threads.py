"""Work beside the main program, as far as TensorFlow allows it.

When Python calls an operation, TensorFlow looks at the types of its arguments,
which lie meanwhile where another call of the operation overwrites them. If a
type is new, and Python gives way to another thread there, the process may die.
What was traced is called without this: so threads may call compiled functions,
but tracing and eager execution are for the main program alone.
"""

from concurrent import futures


def submit(pool, function, *args, beside):
  """Returns a future of `function(*args)`, made by a pool or here.

  Args:
    pool: futures.ThreadPoolExecutor.
    function: what is to be made.
    *args: of the function.
    beside: whether a thread may make it: it calls no operation of TensorFlow
      but in functions that are compiled and traced.
  """
  if beside:
    return pool.submit(function, *args)
  made = futures.Future()
  made.set_result(function(*args))
  return made
