"""Work beside the main program, as far as TensorFlow allows it.

Calling an operation from Python sorts its arguments by their types, and keeps
them meanwhile where a second call of the operation overwrites them. If a type
is new, and Python gives way to another thread there, the process dies. What
was compiled is called without this: so two threads may call compiled
functions, while tracing and eager execution are for one of them alone.
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
