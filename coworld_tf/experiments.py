"""The tables and figures of the paper as lists of commands.

    dataset   one per target task, for all methods and seeds
    run       one per method, pair of tasks and seed

Steps with equal names are the same command in all experiments of one scale,
so experiments share what they have in common. Nothing here loads TensorFlow.
"""

import functools
import itertools
import pathlib
import typing

from coworld_tf import inputs
from coworld_tf.analysis import paper
from coworld_tf.datasets import collect
from dreamerv2_base import config as configs
from dreamerv2_base import episodes
from dreamerv2_base import flags as command_line

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The abbreviations of the paper.
TASKS = {
    **{short: task for task, short in paper.SHORT.items()},
    'PG': 'robodesk_push_green'}
METAWORLD = 'DC*', 'BP', 'WC', 'HP', 'DC', 'BT'
# Overlays of configs/ by method. The last four are CoWorld without a part.
METHODS = {
    **{name: (name,) for name in (
        'dreamerv2_offline', 'offline_dv2', 'dv2_finetune',
        'dv2_finetune_ewc', 'coworld', 'multi_source')},
    **{name: ('coworld', name) for name in (
        'no_state_alignment', 'no_reward_alignment', 'no_value_constraint',
        'brute_force')}}
# Sources of multi_source by suite of the target: those that the paper pairs
# with it. A target is no source of its own.
CANDIDATES = {
    'metaworld': METAWORLD, 'dmc': ('WW', 'CR'),
    'robodesk': ('BP', 'WC', 'DC', 'HP')}
DMC_PAIRS = (
    ('WW', 'WD'), ('WW', 'WU'), ('WW', 'WN'),
    ('CR', 'CD'), ('CR', 'CU'), ('CR', 'CN'))
# Values around the settings of Meta-World, which are among them.
GRIDS = {
    'coworld.beta2': (0.1, 0.5, 1.0, 2.0, 5.0),
    'coworld.k': (0.1, 0.3, 0.5, 0.7, 0.9),
    'coworld.alpha': (0.5, 1.0, 2.0, 3.0, 5.0)}


class Experiment(typing.NamedTuple):
  """What a table or figure compares."""
  title: str
  policy: str  # Of the datasets.
  pairs: tuple  # (source, target), abbreviated.
  methods: tuple
  left_out: tuple = ()  # Rows of the paper that are not implemented here.
  grids: dict = {}  # Settings of CoWorld that are varied one at a time.


class Scale(typing.NamedTuple):
  """How large networks, schedules and datasets are."""
  overlays: tuple  # Of the runs.
  agent: tuple  # Overlays of the agent that makes a dataset.
  frames: int  # That this agent is trained for.
  block: int  # Frames between its evaluations.


class Step(typing.NamedTuple):
  """A command."""
  name: str
  argv: tuple  # Behind `python`, at the root of the repository.
  needs: tuple  # Names of the steps before it.
  done: pathlib.Path  # JSON file that a finished step leaves.


EXPERIMENTS = {
    'table2': Experiment(
        'Meta-World, medium-replay', 'medium_replay',
        (('BP', 'DC*'), ('DC', 'BP'), ('BT', 'WC'), ('BP', 'HP'),
         ('WC', 'DC'), ('HP', 'BT')),
        ('offline_dv2', 'dv2_finetune', 'dv2_finetune_ewc', 'coworld',
         'multi_source'),
        ('drq_bc', 'cql', 'curl', 'lompo', 'lompo_finetune')),
    'table3': Experiment(
        'DeepMind Control, medium-replay', 'medium_replay', DMC_PAIRS,
        ('offline_dv2', 'dv2_finetune', 'coworld'),
        ('drq_bc', 'cql', 'curl', 'lompo', 'lompo_finetune')),
    'table4': Experiment(
        'DeepMind Control, medium-expert', 'medium_expert', DMC_PAIRS,
        ('offline_dv2', 'dv2_finetune', 'coworld'), ('drq_bc', 'lompo')),
    'fig3': Experiment(
        'Transfer between all pairs of Meta-World', 'medium_replay',
        tuple(itertools.permutations(METAWORLD, 2)),
        ('offline_dv2', 'coworld', 'multi_source')),
    'fig5a': Experiment(
        'Ablations, from Meta-World to RoboDesk', 'medium_replay',
        (('BP', 'PG'),),
        ('coworld', 'no_state_alignment', 'no_reward_alignment',
         'no_value_constraint')),
    'fig6': Experiment(
        'Sensitivity of CoWorld', 'medium_replay', (('DC', 'BP'),),
        ('dv2_finetune', 'coworld'), grids=GRIDS)}
SCALES = {
    'paper': Scale(('paper',), ('paper',), 1000000, 10000),
    'small': Scale(('small', 'comparison'), ('small',), 40000, 4000),
    'smoke': Scale(('debug',), ('debug',), 120, 60)}


def plan(experiment, scale, out, seeds, pairs=(), methods=()):
  """Lists the steps of an experiment, each behind those it needs.

  Args:
    experiment: name in EXPERIMENTS.
    scale: name in SCALES.
    out: directory of everything.
    seeds: of the runs.
    pairs: which ones, 'WW-WD'; all of the experiment if empty.
    methods: names in METHODS; those of the experiment if empty.

  Raises:
    ValueError, OSError: unknown names, or overlays that do not fit.
  """
  chosen = EXPERIMENTS[experiment]
  pairs = [_pair(chosen, text) for text in pairs] or chosen.pairs
  steps = {}
  # Seeds outermost: whenever it is stopped, most methods have as many runs.
  for seed, method, (source, target) in itertools.product(
      seeds, methods or chosen.methods, pairs):
    for key, value in _variants(chosen.grids if method == 'coworld' else {}):
      data = dataset(chosen.policy, target, scale, out)
      run = train(method, source, target, scale, out, data, seed, key, value)
      steps[data.name], steps[run.name] = data, run
  # Python's sort is stable: datasets first, the order kept otherwise.
  return sorted(steps.values(), key=lambda step: bool(step.needs))


def dataset(policy, target, scale, out):
  """The step that makes the dataset of a target task."""
  task, size = TASKS[target], SCALES[scale]
  suite = task.partition('_')[0]
  config = _merged(suite, *size.overlays)
  directory = out / 'data' / f'{policy}-{task}'
  argv = [
      '-m', 'coworld_tf.datasets', 'collect', '--task', task, '--policy',
      policy, '--steps', size.frames, *inputs.collect_flags(config), '--out',
      directory, '--agent_logdir', out / 'agents' / task, '--agent_configs',
      suite, *size.agent, '--', '--schedule.source_steps', size.block]
  return Step(
      f'data-{policy}-{task}', tuple(map(str, argv)), (),
      directory / 'metadata.json')


def train(
    method, source, target, scale, out, data, seed, key=None, value=None):
  """The step that trains a method.

  Args:
    method: name in METHODS.
    source: abbreviated task.
    target: abbreviated task.
    scale: name in SCALES.
    out: directory of everything.
    data: step of the dataset.
    seed: of the run.
    key: setting that differs from the method's, if any.
    value: of that setting.
  """
  suite = TASKS[target].partition('_')[0]
  size, overlays = SCALES[scale].overlays, METHODS[method]
  # What a scale pins must not undo what makes a method.
  first, second = (
      (size, overlays) if (method, scale) == ('offline_dv2', 'paper')
      else (overlays[:1], (*size, *overlays[1:])))
  argv = ['--configs', suite, *first, *second]
  parts, config = [method], _merged(suite, *first, *second)
  origin, _ = inputs.METHODS[config.method]
  if origin == 'source_task':
    argv += ['--source_task', TASKS[source]]
    parts.append(TASKS[source])
  elif origin:
    others = [TASKS[name] for name in CANDIDATES[suite] if name != target]
    argv += [f'--{origin}', *others]
  argv += ['--target_task', TASKS[target]]
  # Tells datasets of one task apart.
  parts.append(data.done.parent.name)
  if method == 'offline_dv2':
    argv += offline_dv2_schedule(config, scale)
  if key and config.flat()[key] != value:
    argv += [f'--{key}', value]
    parts.append(f"{key.rpartition('.')[2]}_{value}")
  name = '-'.join([*parts, str(seed)])
  logdir = out / 'runs' / name
  argv += [
      '--offline_dir', data.done.parent, '--logdir', logdir, '--seed', seed]
  return Step(
      name, ('train.py', *map(str, argv)), (data.name,),
      logdir / 'summary.json')


def offline_dv2_schedule(config, scale):
  """Flags for the updates of model and policy, which are apart.

  At the scale of the paper its 300,000 updates, of which V-D4RL's 25,000 of
  the model. Otherwise those of a target of CoWorld, half of them of the model.
  """
  per_update = config.train_every * config.action_repeat
  if scale == 'paper':
    return [
        '--schedule.warmup', 1, '--schedule.model_updates', 25000,
        '--schedule.rounds', 11, '--schedule.target_blocks', 5,
        '--schedule.target_steps', 5000 * per_update]
  amounts = config.schedule
  blocks = amounts.rounds * amounts.target_blocks
  model = amounts.warmup * amounts.model_updates
  half = (model + blocks * (amounts.target_steps // per_update)) // 2
  return [
      '--schedule.warmup', 1, '--schedule.model_updates', half,
      '--schedule.target_steps', half // blocks * per_update]


def check_settings(steps):
  """Checks that what steps have left or begun was made with their settings.

  Settings that came after a run count with their defaults.

  Raises:
    ValueError, OSError: it was made with others, or cannot be read.
  """
  for step in steps:
    directory = ROOT / step.done.parent
    before, now = {}, {}
    if step.needs and (directory / 'config.yaml').exists():
      before = {
          **configuration([]).flat(),
          **configs.Config(configs.load(directory / 'config.yaml')).flat()}
      now = configuration(step.argv[1:]).flat()
    elif not step.needs and (directory / episodes.METADATA).exists():
      before = episodes.read_metadata(directory)
      now = collect.make_request(collect.parse_arguments(step.argv[3:]))
    different = inputs.changed(before, now)
    if different:
      key = different[0]
      raise ValueError(
          f"{step.name}: {directory} was made with {key} '{before[key]}', "
          f"not '{now[key]}'; choose another --out or remove it")


def configuration(argv):
  """The configuration that arguments of train.py stand for.

  Raises:
    ValueError, OSError: an overlay or flag is wrong.
  """
  return command_line.parse(list(argv), ROOT / 'configs')


@functools.cache
def _merged(*overlays):
  return configuration(['--configs', *overlays])


def _pair(experiment, text):
  pair = tuple(text.split('-'))
  if pair not in experiment.pairs:
    known = ' '.join(map('-'.join, experiment.pairs))
    raise ValueError(f"--pairs: '{text}', use some of {known}")
  return pair


def _variants(grids):
  yield None, None
  for key, values in grids.items():
    for value in values:
      yield key, value
