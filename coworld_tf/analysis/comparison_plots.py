"""Figures of a comparison: bars, learning curves, intervals."""

import math
import textwrap
import typing

import matplotlib
import numpy as np
from matplotlib import figure, patches, ticker

from coworld_tf.analysis import aggregates, plots
from dreamerv2_base import files

# Told apart by people with any colour vision; the reference gets the first.
COLORS = (
    '#3b6fb6', '#dd8452', '#2f8f8b', '#c2515d', '#8c6bb1', '#b8912f',
    '#6f6f6f', '#d48fbd')
# With more methods than colours these tell them apart: bars, lines, markers.
PATTERNS = ('', '-', 'o'), ('////', '--', 's'), ('...', ':', '^'), (
    'xxxx', '-.', 'D')
STATISTICS = {
    'Interquartile mean': aggregates.iqm,
    'Mean': aggregates.mean,
    'Optimality gap': aggregates.optimality_gap}


class Look(typing.NamedTuple):
  """How a method is drawn."""
  color: str
  hatch: str
  line: str
  marker: str


def draw(found, folder):
  """Draws everything that there is data for.

  Args:
    found: comparison.Comparison.
    folder: existing directory of the PNG files.

  Returns:
    {title: file name}.
  """
  drawn = {}
  for title, name, function in (
      ('Returns', 'returns.png', returns),
      ('Aggregates over pairs', 'aggregates.png', intervals),
      ('Learning curves', 'curves.png', curves)):
    with matplotlib.rc_context(plots.STYLE):
      fig = function(found)
    if fig:
      with files.replacing(folder / name) as temporary:
        fig.savefig(temporary, format='png')
      drawn[title] = name
  return drawn


def returns(found):
  """Bars of the means with deviations and the seeds as points."""
  fig, axes = _panels(found, 0.8 + 0.75 * len(found.methods))
  looks = _looks(found)
  for (column, name), ax in zip(found.columns.items(), axes, strict=True):
    for index, method in enumerate(found.methods):
      cell = found.cells.get((method, column))
      if not cell:
        continue
      ax.bar(
          index, cell.mean, 0.62, color=looks[method].color,
          hatch=looks[method].hatch, edgecolor='white', lw=0, zorder=2)
      if cell.std is not None:
        ax.errorbar(
            index, cell.mean, cell.std, color='#333333', capsize=4, lw=1.2,
            zorder=3)
      shift = 0.24 * np.linspace(-1, 1, len(cell.runs) + 2)[1:-1]
      ax.scatter(
          index + shift, cell.scores, 12, color='white',
          edgecolors='#333333', linewidths=0.8, zorder=4)
    ax.set_xticks([])
    ax.grid(False, axis='x')
    ax.set_xlim(-0.6, len(found.methods) - 0.4)
    _references(ax, found.facts[column])
    ax.set_title(name)
    ax.set_ylabel('return')
  handles = [
      patches.Patch(
          facecolor=looks[x].color, hatch=looks[x].hatch, edgecolor='white',
          lw=0, label=_wrapped(x))
      for x in found.methods]
  _legend(fig, axes, handles)
  return fig


def curves(found):
  """Means over seeds, in the band from the lowest to the highest seed."""
  if not any(len(run.curve) > 1 for run in found.runs):
    return None
  fig, axes = _panels(found, 4.2)
  looks = _looks(found)
  for (column, name), ax in zip(found.columns.items(), axes, strict=True):
    cells = {
        method: found.cells[method, column] for method in found.methods
        if (method, column) in found.cells}
    known = all(
        updates is not None for cell in cells.values() for run in cell.runs
        for _, updates, _ in run.curve)
    for method, cell in cells.items():
      steps, values = _aligned([
          ([point[known] for point in run.curve],
           [point[2] for point in run.curve]) for run in cell.runs])
      ax.fill_between(
          steps, values.min(0), values.max(0), color=looks[method].color,
          alpha=0.2, lw=0)
      ax.plot(
          steps, values.mean(0), color=looks[method].color,
          ls=looks[method].line, marker=looks[method].marker, ms=3,
          label=_wrapped(method))
    _references(ax, found.facts[column])
    ax.set_title(name)
    ax.set_ylabel('return')
    ax.set_xlabel(_axis(cells) if known else 'updates of all agents')
    ax.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5))
  handles = {}
  for ax in axes:
    lines, labels = ax.get_legend_handles_labels()
    handles.update(zip(labels, lines, strict=True))
  _legend(fig, (), handles.values())
  return fig


def intervals(found):
  """Aggregates of the normalized scores with their intervals, as lines."""
  panels = {
      title: {
          method: found.aggregate(method, statistic)
          for method in found.methods}
      for title, statistic in STATISTICS.items()}
  others = [x for x in found.methods if x != found.reference]
  panels['Probability of improvement'] = {
      method: found.improvement(method) for method in others}
  panels = {title: rows for title, rows in panels.items()
            if any(rows.values())}
  if not panels:
    return None
  height = 0.9 + 0.42 * len(found.methods)
  fig = figure.Figure((2.9 * len(panels) + 1.6, height), layout='constrained')
  axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
  looks = _looks(found)
  for (title, rows), ax in zip(panels.items(), axes, strict=True):
    for method, entry in rows.items():
      if entry:
        y = found.methods.index(method)
        low, high = entry.interval or (entry.value, entry.value)
        ax.barh(y, high - low, 0.5, low, color=looks[method].color, alpha=0.35)
        ax.plot(
            [entry.value] * 2, [y - 0.25, y + 0.25],
            color=looks[method].color, lw=2.5, solid_capstyle='butt')
    ax.set_title(title, fontsize=10)
    ax.grid(False, axis='y')
    ax.use_sticky_edges = False
    ax.margins(x=0.08)
    if title not in STATISTICS:
      ax.axvline(0.5, color='#888888', ls='--', lw=1)
      ax.set_xlim(-0.03, 1.03)
      ax.set_xlabel(f'{textwrap.shorten(found.reference, 30)} is better')
    else:
      ax.set_xlabel('normalized return')
  axes[0].set_yticks(
      range(len(found.methods)), [_wrapped(x) for x in found.methods])
  axes[0].set_ylim(len(found.methods) - 0.4, -0.6)
  return fig


def _panels(found, width):
  """A figure with a panel for each column of the comparison."""
  columns = min(3, len(found.columns))
  rows = math.ceil(len(found.columns) / columns)
  fig = figure.Figure(
      (max(3.6, width) * columns, 2.9 * rows + 0.5), layout='constrained')
  axes = list(fig.subplots(rows, columns, squeeze=False).flat)
  for ax in axes[len(found.columns):]:
    ax.remove()
  return fig, axes[:len(found.columns)]


def _references(ax, facts):
  for name, value in (('random', facts.random), ('dataset', facts.dataset)):
    if value is not None:
      ax.axhline(
          value, color=plots.REFERENCES[name], ls='--', lw=1.3, label=name)
  ax.margins(y=0.12)


def _legend(fig, axes, handles):
  """One legend below all panels: the handles and the lines of the axes."""
  lines = {}
  for ax in axes:
    found, labels = ax.get_legend_handles_labels()
    lines.update(zip(labels, found, strict=True))
  handles = [*handles, *lines.values()]
  per_row = max(1, int(fig.get_figwidth() / 2.0))
  fig.legend(
      handles=handles, loc='outside lower center',
      ncols=min(len(handles), per_row))


def _aligned(lines):
  """Lines of several seeds on the steps that all of them span.

  Args:
    lines: list of (steps, values).

  Returns:
    Steps [N] and values [seeds, N].
  """
  low = max(min(steps) for steps, _ in lines)
  high = min(max(steps) for steps, _ in lines)
  steps = sorted({x for steps, _ in lines for x in steps if low <= x <= high})
  return np.array(steps), np.array([np.interp(steps, *x) for x in lines])


def _axis(cells):
  """What the updates of the evaluated agents are, {method: Cell}."""
  methods = {run.method for cell in cells.values() for run in cell.runs}
  if methods == {'dreamerv2'}:
    return 'updates'
  exception = ' (dreamerv2: its own)' if 'dreamerv2' in methods else ''
  return f'updates on target data{exception}'


def _looks(found):
  """{method: Look}, all different for four times as many as colours."""
  ranked = sorted(found.methods, key=lambda x: x != found.reference)
  return {
      method: Look(
          COLORS[index % len(COLORS)],
          *PATTERNS[index // len(COLORS) % len(PATTERNS)])
      for index, method in enumerate(ranked)}


def _wrapped(label):
  return textwrap.fill(label, 28)
