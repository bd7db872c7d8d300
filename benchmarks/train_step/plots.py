"""The figure of docs/speed.md."""

import math

import matplotlib
from matplotlib import figure

from benchmarks.train_step import scaling, updates
from coworld_tf.analysis import plots
from dreamerv2_base import files

COLORS = {'official': '#9a9a9a', 'float32': '#3b6fb6', 'bfloat16': '#dd8452'}
COLUMNS = 3


def draw(by_size, growths, out_path):
  """Draws contenders by size and growth along each axis.

  Args:
    by_size: {size: what updates.measure gives}.
    growths: {size: what scaling.measure gives}.
    out_path: the PNG file to write.
  """
  panels = [
      (bars, size, found) for size, found in by_size.items()] + [
      (growth, f'{size}: {scaling.NAMES[axis]}', entry)
      for size, found in growths.items()
      for axis, entry in found['axes'].items()]
  if not panels:
    return
  rows = math.ceil(len(panels) / COLUMNS)
  with matplotlib.rc_context(plots.STYLE):
    fig = figure.Figure((4.2 * COLUMNS, 3.2 * rows), layout='constrained')
    axes = list(fig.subplots(rows, COLUMNS, squeeze=False).flat)
    for (panel, title, found), ax in zip(panels, axes, strict=False):
      panel(ax, found)
      ax.set_title(title)
    for ax in axes[len(panels):]:
      ax.remove()
    with files.replacing(out_path) as temporary:
      fig.savefig(temporary, format='png')


def bars(ax, found):
  """Seconds per update of each contender, floors as lines."""
  floors = updates.FLOORS
  rows = {
      name: row for name, row in found['rows'].items() if name not in floors}
  for index, (name, row) in enumerate(rows.items()):
    ax.barh(index, row['cpu'], color=COLORS[kind(name)], zorder=2)
    ax.annotate(
        f" {row['cpu']:.3g}", (row['cpu'], index), va='center', fontsize=7)
  for name in floors:
    if name in found['rows']:
      ax.axvline(
          found['rows'][name]['cpu'], color=COLORS[kind(name)], ls='--',
          lw=1.2, label=f'floor, {kind(name)}', zorder=3)
  ax.set_yticks(range(len(rows)), list(rows), fontsize=7)
  ax.invert_yaxis()
  ax.grid(False, axis='y')
  widest = max((row['cpu'] for row in rows.values()), default=1)
  ax.set_xlim(0, 1.5 * widest)  # Leaves room for the legend.
  ax.set_xlabel('CPU seconds / cores per update')
  ax.legend(loc='lower right')


def kind(name):
  """Returns which colour a contender has."""
  if name == 'official':
    return name
  return 'bfloat16' if name.endswith('bfloat16') else 'float32'


def growth(ax, entry):
  """Time and memory relative to the first point, beside linear growth."""
  places = [point['at'] for point in entry['points']]
  for key, label, color in (
      ('cpu', 'time', COLORS['float32']),
      ('peak_mb', 'memory', COLORS['bfloat16'])):
    values = [point[key] for point in entry['points']]
    ax.plot(
        places, [value / values[0] for value in values], 'o-', ms=4,
        color=color, label=label)
  ends = places[0], places[-1]
  ax.plot(
      ends, [1, ends[1] / ends[0]], color='#888888', ls=':', lw=1,
      label='linear')
  ax.set_xscale('log')
  ax.set_yscale('log')
  ax.set_xticks(places, [f'{place:,}' for place in places])
  top = 1.4 * max(2, *[
      point[key] / entry['points'][0][key]
      for key in ('cpu', 'peak_mb') for point in entry['points']])
  ax.set_ylim(0.7, top)
  ticks = [2 ** power for power in range(int(math.log2(top)) + 1)]
  ax.set_yticks(ticks, [f'{tick} x' for tick in ticks])
  ax.minorticks_off()
  ax.set_ylabel('of the first')
  ax.legend(loc='upper left')
