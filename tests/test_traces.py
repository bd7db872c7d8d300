"""What a run compiles, it compiles once."""

import contextlib
import pathlib
import threading

import tensorflow as tf

from coworld_tf import inputs, methods, turns
from coworld_tf.datasets import collect
from dreamerv2_base import agent, flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
# All phases; two blocks of each kind of update that CoWorld repeats. Blocks of
# the whole target draw more frames than there are, so they read embeddings.
FLAGS = (
    '--configs coworld debug --compile graph --source_task dummy_3 '
    '--target_task dummy_2 --dataset.batch 2 --dataset.length 3 '
    '--size 16 --encoder.cnn_kernels 4 4 --decoder.cnn_kernels 6 6 '
    '--imag_horizon 2 --time_limit 8 --overlap all --schedule.prefill 16 '
    '--schedule.source_pretrain 2 --schedule.source_steps 20 '
    '--schedule.warmup 2 --schedule.model_updates 2 --schedule.target_steps '
    '20 --evaluation.envs 1 --evaluation.final_episodes 1')


def counts(**objects):
  """Number of traces of all compiled functions that are used, by name."""
  found = {}
  for label, thing in objects.items():
    for name, value in vars(thing).items():
      if hasattr(value, 'experimental_get_tracing_count'):
        found[f'{label}.{name}'] = value.experimental_get_tracing_count()
  return {name: count for name, count in found.items() if count}


@contextlib.contextmanager
def calls_of_threads():
  """Yields what threads call: code of functions, names if not in Python.

  Operations of TensorFlow begin with a method Dispatch, see threads.py.
  """
  found = set()
  def note(frame, event, function):
    if event == 'call':
      found.add(frame.f_code)
    elif event == 'c_call':
      found.add(function.__name__)
  threading.setprofile(note)
  try:
    yield found
  finally:
    threading.setprofile(None)


def test_a_run_of_all_phases_compiles_each_function_once(tmp_path):
  data, logdir = tmp_path / 'data', tmp_path / 'run'
  assert collect.main([
      '--task', 'dummy_2', '--steps', '16', '--time_limit', '8', '--quality',
      'fast', '--size', '16', '--out', str(data)]) == 0
  config = flags.parse(
      [*FLAGS.split(), '--offline_dir', str(data), '--logdir', str(logdir)],
      ROOT / 'configs')
  trainer = methods.build(config, logdir, inputs.open_dataset(config))
  with calls_of_threads() as called:
    trainer.run()
    assert called >= {agent.AgentPolicy.__call__.__code__,
                      turns.Turns._make.__code__}
    assert 'Dispatch' not in called
    thread = threading.Thread(target=tf.stack, args=[[0]])
    thread.start()
    thread.join()
    assert 'Dispatch' in called
  pair = trainer.learner
  evaluated = trainer.evaluator.twins
  assert counts(
      pair=pair, source=pair.source, target=pair.target,
      twin=trainer.collectors[0].twin, source_twin=evaluated['source'],
      target_twin=evaluated['target']) == dict.fromkeys([
          'pair.train_source', 'pair.train_source_aligned',
          'pair.train_target_model', 'pair.embed', 'pair.train_target',
          'source.train', 'source.report', 'target.report', *(
              f'{twin}.{name}'
              for twin in ('twin', 'source_twin', 'target_twin')
              for name in ('initial', 'policy', 'follow'))], 1)
