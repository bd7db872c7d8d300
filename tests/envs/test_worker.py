"""Environments in other processes: results, errors and clean ends."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import envs
from envs import worker

ROOT = pathlib.Path(envs.__file__).parents[1]
SETTINGS = {'seed': 5, 'quality': 'fast', 'action_repeat': 2}


def script(text, **kwargs):
  """Starts a Python program of its own."""
  return subprocess.Popen(
      [sys.executable, '-c', text], cwd=ROOT, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)


def alive(pid):
  """Whether the process exists and is not just waiting to be reaped."""
  try:
    state = pathlib.Path(f'/proc/{pid}/stat').read_text().split()[2]
  except OSError:
    return False
  return state != 'Z'


def wait_gone(pid):
  """Fails unless the process ends within ten seconds."""
  for _ in range(100):
    if not alive(pid):
      return
    time.sleep(0.1)
  raise AssertionError(f'process {pid} is still there')


@pytest.mark.parametrize('task', [
    'dmc_walker_downhill', 'metaworld_door-close', 'robodesk_open_slide',
    'gym_tests.envs.dots:Drawn-v0'])
def test_equals_the_environment_in_process(task):
  local = envs.make(task, **SETTINGS)
  with worker.Worker(task, **SETTINGS) as remote:
    assert remote.obs_space == local.obs_space
    assert remote.act_space == local.act_space
    pairs = [(local.reset(), remote.reset())]
    size, = local.act_space['action'].shape
    for action in np.random.default_rng(0).uniform(-1, 1, (3, size)):
      action = {'action': action}
      pairs.append((local.step(action), remote.step(action)))
    pairs.append((local.reset(6), remote.reset(6)))
  for ours, theirs in pairs:
    assert ours.keys() == theirs.keys()
    for key in ours:
      np.testing.assert_array_equal(ours[key], theirs[key])
  local.close()


def test_two_workers_step_at_the_same_time():
  both = [worker.Worker('dummy_2', seed=seed) for seed in (1, 2)]
  local = [envs.make('dummy_2', seed=seed) for seed in (1, 2)]
  promises = [remote.reset(blocking=False) for remote in both]
  for promise, env in zip(promises, local):
    np.testing.assert_array_equal(promise()['image'], env.reset()['image'])
  action = {'action': np.ones(2)}
  promises = [remote.step(action, blocking=False) for remote in both]
  with pytest.raises(RuntimeError, match='the last promise was not called'):
    both[0].step(action)
  for promise, env in zip(promises, local):
    assert promise()['reward'] == env.step(action)['reward']
  with pytest.raises(RuntimeError, match='called before'):
    promises[0]()
  for remote in both:
    remote.close()


def test_wrong_input_is_a_value_error_and_not_fatal():
  with pytest.raises(ValueError, match="did you mean 'dmc_walker_walk'"):
    worker.Worker('dmc_walker_wolk')
  with worker.Worker('dummy_2') as remote:
    remote.reset()
    with pytest.raises(ValueError, match='2 finite numbers'):
      remote.step({'action': np.zeros(3)})
    assert not remote.step({'action': np.zeros(2)})['is_last']


def test_other_errors_name_task_and_seed_and_keep_the_traceback():
  with worker.Worker('dummy_2', seed=7) as remote:
    with pytest.raises(worker.WorkerError) as error:
      remote.step({'action': np.zeros(2)})
  assert 'dummy_2 (seed 7): the worker failed' in str(error.value)
  assert 'Traceback' in str(error.value)
  assert 'call reset() before step()' in str(error.value)


def test_death_is_reported():
  remote = worker.Worker('dummy_2', seed=3)
  remote.reset()
  os.kill(remote._process.pid, signal.SIGSEGV)
  with pytest.raises(worker.WorkerError) as error:
    for _ in range(2):
      remote.step({'action': np.zeros(2)})
  assert 'dummy_2 (seed 3): the worker died with exit status -11' in str(
      error.value)
  assert 'Segmentation fault' in str(error.value)
  with pytest.raises(RuntimeError, match='the worker is closed'):
    remote.reset()


@pytest.mark.parametrize('kind, words', [
    ('none', 'reward is None: must be finite'), ('nan', 'reward is nan: must'),
    ('inf', 'reward is 1e+300: must'), ('two', 'reward is [1, 2]: must'),
    ('float', 'image is float32 [24, 32, 1]: must be uint8 [24, 32, 1]'),
    ('small', 'image is uint8 [8, 32, 1]: must be uint8 [24, 32, 1]'),
    ('blind', 'image is object []: must be'),
    ('missing', 'number of elements returned: 2'),
    ('memory', 'MemoryError: Unable to allocate 7 TiB'),
    ('killed', 'died with exit status -9, perhaps for want of memory: use'),
    ('exit', 'died with exit status 3')])
def test_rubbish_is_a_failure_of_the_worker(kind, words):
  task = f'gym_tests.envs.dots:Rubbish-{kind}-v0'
  with worker.Worker(task, seed=3) as remote:
    remote.reset(7)
    with pytest.raises(worker.WorkerError) as error:
      remote.step({'action': np.zeros(3)})
  assert str(error.value).startswith(f'{task} (seed 7): the worker ')
  assert words in str(error.value)


def test_what_simulators_print_disturbs_nobody():
  with worker.Worker('gym_tests.envs.dots:Noisy-v0') as remote:
    for _ in range(3):
      remote.reset()
      assert os.fstat(remote._log.fileno()).st_size < 2 ** 20
      for _ in range(2):
        remote.step({'action': np.zeros(3)})
    assert os.fstat(remote._log.fileno()).st_size < 4 * 2 ** 20
    os.kill(remote._process.pid, signal.SIGKILL)
    with pytest.raises(worker.WorkerError, match='noise\nand then') as error:
      remote.step({'action': np.zeros(3)})
    assert len(str(error.value)) < 5000


def test_silence_is_reported_and_ended():
  remote = worker.Worker('dummy_2', seed=3)
  remote._timeout = 0.3
  pid = remote._process.pid
  os.kill(pid, signal.SIGSTOP)
  message = 'seed 3.*no answer in 0.3 seconds'
  with pytest.raises(worker.WorkerError, match=message):
    remote.reset()
  assert not alive(pid)


def test_close_is_idempotent_and_leaves_no_process():
  remote = worker.Worker('dummy_2')
  pid = remote._process.pid
  remote.reset(blocking=False)
  remote.close()
  remote.close()
  assert remote._process.returncode == 0
  assert not pathlib.Path(f'/proc/{pid}').exists()


def test_forgotten_worker_ends_with_its_owner():
  remote = worker.Worker('dummy_2')
  pid = remote._process.pid
  del remote
  assert not pathlib.Path(f'/proc/{pid}').exists()


def test_works_beside_tensorflow_and_exits_silently(tmp_path):
  text = f"""
import os
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
import tensorflow
import numpy as np, sys
sys.path.append({str(ROOT)!r})
from envs import worker
remote = worker.Worker('dmc_cheetah_downhill', quality='fast')
remote.reset()
for _ in range(3):
  obs = remote.step({{'action': np.zeros(6)}})
print(np.ptp(obs['image']) > 50, tensorflow.add(1, 1).numpy())
"""
  process = script(text)
  stdout, stderr = process.communicate(timeout=120)
  assert process.returncode == 0, stderr
  assert stdout.strip() == 'True 2'
  words = ('Traceback', 'Exception', 'Error:', 'Warning', 'EGL', 'envs')
  assert not any(word in stderr for word in words), stderr


def test_error_in_the_parent_ends_the_child():
  text = """
from envs import worker
env = worker.RestartingWorker('dummy_2')
env.reset(blocking=False)
print(env._worker._process.pid, flush=True)
raise KeyError('mine')
"""
  parent = script(text)
  stdout, stderr = parent.communicate(timeout=30)
  assert not pathlib.Path(f'/proc/{int(stdout)}').exists()
  assert parent.returncode == 1 and stderr.endswith("KeyError: 'mine'\n")
  assert stderr.count('Traceback') == 1


def test_request_to_end_is_left_to_the_parent():
  with worker.Worker('dummy_2') as remote:
    remote.reset()
    os.kill(remote._process.pid, signal.SIGTERM)
    assert remote.reset()['is_first']
  assert remote._process.returncode == 0


@pytest.mark.parametrize('task, call', [
    ('dummy_2', ''),
    ('gym_tests.envs.dots:Stuck-v0',
     "remote.reset(); remote.step({'action': [0, 0, 1]}, blocking=False)")])
def test_child_leaves_when_its_parent_is_killed(task, call):
  text = f"""
import time
from envs import worker
remote = worker.Worker('{task}')
{call}
print(remote._process.pid, flush=True)
time.sleep(60)
"""
  parent = script(text)
  pid = int(parent.stdout.readline())
  assert alive(pid)
  parent.kill()
  parent.communicate()
  wait_gone(pid)


def test_interrupt_reaches_only_the_parent():
  text = """
from envs import worker
remote = worker.Worker('dummy_2')
try:
  print(remote._process.pid, flush=True)
  while True:
    remote.reset()
except KeyboardInterrupt:
  print(remote._process.poll())
"""
  # Background jobs ignore interrupts, and their children inherit that.
  parent = script(
      text, start_new_session=True,
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
  pid = int(parent.stdout.readline())
  os.killpg(parent.pid, signal.SIGINT)
  stdout, stderr = parent.communicate(timeout=30)
  assert (parent.returncode, stdout.strip(), stderr) == (0, 'None', '')
  wait_gone(pid)
