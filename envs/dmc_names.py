"""Names of the DeepMind Control tasks and of their modified versions.

Spelled out because importing dm_control opens a graphics display, after which
importing TensorFlow can crash; names must be checkable in any process.

Besides the stock tasks there are, for every domain that a slope affects,
`<domain>_<task>_uphill|downhill` and the short `<domain>_uphill|downhill`. The
short name means the first task of the domain below, but walking for the
walker: walker_downhill = walker_walk_downhill, hopper_uphill =
hopper_stand_uphill. `walker_nofoot` walks with a tiny right foot and
`cheetah_nopaw` runs with a tiny front paw.
"""

TASKS_BY_DOMAIN = {
    'acrobot': ('swingup', 'swingup_sparse'),
    'ball_in_cup': ('catch',),
    'cartpole': (
        'balance', 'balance_sparse', 'swingup', 'swingup_sparse', 'two_poles',
        'three_poles'),
    'cheetah': ('run',),
    'dog': ('stand', 'walk', 'trot', 'run', 'fetch'),
    'finger': ('spin', 'turn_easy', 'turn_hard'),
    'fish': ('upright', 'swim'),
    'hopper': ('stand', 'hop'),
    'humanoid': ('stand', 'walk', 'run', 'run_pure_state'),
    'humanoid_CMU': ('stand', 'walk', 'run'),
    'lqr': ('lqr_2_1', 'lqr_6_2'),
    'manipulator': ('bring_ball', 'bring_peg', 'insert_ball', 'insert_peg'),
    'pendulum': ('swingup',),
    'point_mass': ('easy', 'hard'),
    'quadruped': ('walk', 'run', 'escape', 'fetch'),
    'reacher': ('easy', 'hard'),
    'stacker': ('stack_2', 'stack_4'),
    'swimmer': ('swimmer6', 'swimmer15'),
    'walker': ('stand', 'walk', 'run'),
}
# Without gravity, or on rails across the slope.
UNMOVED = ('finger', 'fish', 'lqr')


def _expand():
  names = {
      'walker_nofoot': ('walker', 'walk', 'nofoot'),
      'cheetah_nopaw': ('cheetah', 'run', 'nopaw')}
  for domain, tasks in TASKS_BY_DOMAIN.items():
    names.update({f'{domain}_{task}': (domain, task, '') for task in tasks})
    if domain not in UNMOVED:
      usual = 'walk' if domain == 'walker' else tasks[0]
      for slope in ('uphill', 'downhill'):
        names[f'{domain}_{slope}'] = (domain, usual, slope)
        names.update({
            f'{domain}_{task}_{slope}': (domain, task, slope)
            for task in tasks})
  return names


# Task name -> (domain, task of dm_control, '' or the modification).
TASKS = _expand()
