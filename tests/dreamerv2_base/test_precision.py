import pathlib

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_base import agent, precision

OBS = {'vector': gymnasium.spaces.Box(-9, 9, (5,), np.float32)}
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
CPUINFO = 'processor\t: 0\nmodel name\t: amx_bf16\nflags\t\t: {}\nbugs\t: x\n'


@pytest.mark.parametrize('flags, expected', [
    ('fpu sse2 avx2', '32'), ('fpu avx512f avx512_vnni', '32'),
    ('avx512f avx512_bf16', 'bfloat16'), ('amx_bf16 amx_tile', 'bfloat16'),
    ('not_avx512_bf16 avx512_fp16', '32'), ('', '32')])
def test_processor_must_have_the_instructions(flags, expected):
  assert precision.of_processor(CPUINFO.format(flags)) == expected
  assert precision.of_processor(2 * CPUINFO.format(flags)) == expected


@pytest.mark.parametrize('text', ['', 'Features\t: fp asimd bf16\n', 'flags'])
def test_other_systems_compute_in_float32(text):
  assert precision.of_processor(text) == '32'


@pytest.mark.parametrize('capabilities, expected', [
    ([(8, 0)], 'bfloat16'), ([(9, 0), (8, 6)], 'bfloat16'),
    ([(10, 0)], 'bfloat16'), ([(7, 5)], '16'), ([(8, 0), (7, 0)], '16'),
    ([None], '16')])
def test_gpus_must_all_be_able(capabilities, expected):
  assert precision.of_gpus(capabilities) == expected


@pytest.mark.parametrize('name', [precision.AUTO, *precision.DTYPES])
def test_what_is_settled_stays(make_config, name):
  config = make_config({'precision': name})
  once = precision.settled(config)
  assert once.precision in precision.DTYPES
  assert precision.settled(once) is once
  assert {**once, 'precision': name} == {**config}


def test_this_machine(make_config):
  if not tf.config.get_visible_devices('GPU'):
    text = pathlib.Path('/proc/cpuinfo').read_text()
    assert precision.best() == precision.of_processor(text)
  learner = agent.Agent(make_config({'precision': 'auto'}), OBS, BOX)
  assert learner.config.precision == precision.best()
  assert learner.wm.rssm.dtype == precision.DTYPES[precision.best()]
