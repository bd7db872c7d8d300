"""All figures: learning curves, bars of returns, sheets of images."""

import math
import pathlib
import re

import matplotlib
import numpy as np
from matplotlib import figure, patches, ticker

from dreamerv2_base import files, logger

DOMAINS = {'source': '#dd8452', 'target': '#3b6fb6'}
REFERENCES = {'random': '#9a9a9a', 'dataset': '#55a868'}
OTHERS = '#8c6bb1', '#c2515d', '#2f8f8b', '#b8912f'
STYLE = {
    'axes.edgecolor': '#888888',
    'axes.grid': True,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlelocation': 'left',
    'axes.titlesize': 11,
    'figure.dpi': 130,
    'font.size': 9,
    'grid.alpha': 0.25,
    'legend.frameon': False,
    'legend.fontsize': 8,
    'lines.linewidth': 1.6,
}


def curves(logdir, out_path, groups, columns=3):
  """Draws learning curves, one panel for each group that has data.

  Phases found in the records are shaded in the colour of their domain.

  Args:
    logdir: folder of metrics.jsonl.
    out_path: the PNG file to write.
    groups: {panel title: {label: metric name, or a number that is drawn as
      a dashed line}}. Labels with 'source', 'target', 'random' or 'dataset'
      get the colour of these.
    columns: number of panels side by side.

  Raises:
    FileNotFoundError: there is no metrics.jsonl.
    ValueError: it holds none of the metrics.
  """
  path = pathlib.Path(logdir) / 'metrics.jsonl'
  records = logger.read_metrics(path)
  panels = {}
  for title, lines in groups.items():
    lines = {x: _line(records, metric) for x, metric in lines.items()}
    lines = {label: line for label, line in lines.items() if line is not None}
    if any(isinstance(line, tuple) for line in lines.values()):
      panels[title] = lines
  if not panels:
    raise ValueError(f'{path} holds none of the metrics to draw')
  spans = phases(records)
  columns = min(columns, len(panels))
  rows = math.ceil(len(panels) / columns)
  with matplotlib.rc_context(STYLE):
    fig = figure.Figure(
        (4.2 * columns, 2.7 * rows + 0.4), layout='constrained')
    axes = fig.subplots(rows, columns, squeeze=False).flat
    for (title, lines), ax in zip(panels.items(), axes, strict=False):
      _panel(ax, title, lines)
      _shade(ax, spans)
    for ax in list(axes):
      ax.remove()
    kinds = {text: color for color, text in (_phase(x[0]) for x in spans)}
    fig.legend(
        [patches.Patch(color=color, alpha=0.2) for color in kinds.values()],
        list(kinds), loc='outside lower center', ncols=len(kinds) or 1)
    _save(fig, out_path)


def bands(steps, panels, out_path, unit='step'):
  """Draws means over seeds, in the band from the lowest to the highest.

  Early values are left out of the vertical range where they would hide the
  rest.

  Args:
    steps: [N] positions.
    panels: {panel title: {label: [seeds, N] values}}.
    out_path: the PNG file to write.
    unit: of the steps.
  """
  columns = min(3, len(panels))
  rows = math.ceil(len(panels) / columns)
  with matplotlib.rc_context(STYLE):
    fig = figure.Figure((4.2 * columns, 2.7 * rows), layout='constrained')
    axes = list(fig.subplots(rows, columns, squeeze=False).flat)
    for (title, lines), ax in zip(panels.items(), axes, strict=False):
      for index, (label, values) in enumerate(lines.items()):
        color = _color(label, index)
        ax.fill_between(
            steps, values.min(0), values.max(0), color=color, alpha=0.25, lw=0)
        ax.plot(steps, values.mean(0), color=color, label=label)
      settled = np.concatenate(
          [x[:, x.shape[1] // 20:] for x in lines.values()])
      low, high = settled.min(), settled.max()
      margin = 0.08 * (high - low)
      ax.set_ylim(low - margin, high + margin)
      ax.set_title(title)
      ax.set_xlabel(unit)
      ax.legend(loc='best')
    for ax in axes[len(panels):]:
      ax.remove()
    _save(fig, out_path)


def returns_bar(returns, out_path):
  """Draws mean returns with standard errors side by side.

  Args:
    returns: {label: {'mean': number, 'stderr': number}}, drawn in order.
    out_path: the PNG file to write.
  """
  with matplotlib.rc_context({**STYLE, 'axes.grid.axis': 'y'}):
    fig = figure.Figure(
        (1.2 + 1.3 * len(returns), 3.2), layout='constrained')
    ax = fig.subplots()
    for index, (label, entry) in enumerate(returns.items()):
      mean, stderr = entry['mean'], entry['stderr']
      ax.bar(index, mean, 0.6, color=_color(label, index), zorder=2)
      ax.errorbar(
          index, mean, stderr, color='#333333', capsize=4, lw=1.2, zorder=3)
      ax.annotate(
          f'{mean:.4g}', (index, max(mean, 0) + stderr), (0, 4),
          textcoords='offset points', ha='center')
    ax.axhline(0, color='#888888', lw=0.8)
    ax.set_xticks(range(len(returns)), list(returns))
    ax.tick_params(axis='x', length=0)
    ax.set_title('Return, mean and standard error')
    ax.margins(y=0.12)
    _save(fig, out_path)


def histogram(values, out_path, title):
  """Draws how often values occur, with their median as a dashed line."""
  with matplotlib.rc_context({**STYLE, 'axes.grid.axis': 'y'}):
    fig = figure.Figure((4.6, 3.0), layout='constrained')
    ax = fig.subplots()
    color = REFERENCES['dataset']
    ax.hist(values, min(30, len(values)), color=color, zorder=2)
    ax.axvline(
        np.median(values), color='#333333', ls='--', lw=1.2, zorder=3,
        label=f'median {np.median(values):.4g}')
    ax.set_title(title)
    ax.set_ylabel('episodes')
    ax.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    ax.legend(loc='best')
    _save(fig, out_path)


def contact_sheet(frames, out_path, columns, titles=()):
  """Writes images as a grid with white gaps, row by row.

  Args:
    frames: [N, H, W, 3] uint8; small images are enlarged by whole pixels.
    out_path: the PNG file to write.
    columns: number of images side by side.
    titles: N texts of at most two lines to write under the images, or none.
  """
  frames = np.asarray(frames)
  count, height, width, channels = frames.shape
  scale, gap, foot = max(1, 160 // height), 6, 32 if titles else 0
  frames = frames.repeat(scale, 1).repeat(scale, 2)
  height, width = height * scale + gap + foot, width * scale + gap
  rows = math.ceil(count / columns)
  sheet = np.full(
      (rows * height + gap, columns * width + gap, channels), 255, np.uint8)
  corners = [
      (gap + index // columns * height, gap + index % columns * width)
      for index in range(count)]
  for (top, left), frame in zip(corners, frames, strict=True):
    sheet[top:top + len(frame), left:left + width - gap] = frame
  # Sizes are in inches; a power of two keeps the pixels whole.
  dpi, size = 128, np.array(sheet.shape[1::-1])
  fig = figure.Figure(size / dpi, dpi)
  fig.figimage(sheet)
  for (top, left), title in zip(corners, titles):
    x, y = left + (width - gap) / 2, top + height - foot - gap / 2
    fig.text(
        x / size[0], 1 - y / size[1], title, ha='center', va='top',
        fontsize=6.5, linespacing=1.1)
  _save(fig, out_path)


def series(records, name):
  """Steps and values of one metric, the last value of each step."""
  points = {x['step']: x[name] for x in records if name in x}
  return tuple(np.array([*points.items()], np.float64).reshape(-1, 2).T)


def phases(records):
  """Spans of equal phase as a list of (name, first step, last step)."""
  spans, last = [], 0
  for record in records:
    if 'phase' not in record:
      continue
    name, step = record['phase'], record['step']
    if spans and spans[-1][0] == name:
      spans[-1] = name, spans[-1][1], step
    else:
      spans.append((name, last, step))
    last = step
  return spans


def _line(records, metric):
  """(steps, values), the number for a dashed line, or None without data."""
  if not isinstance(metric, str):
    return metric
  steps, values = series(records, metric)
  return (steps, values) if np.isfinite(values).any() else None


def _shade(ax, spans):
  for name, first, last in spans:
    ax.axvspan(first, last, color=_phase(name)[0], alpha=0.09, lw=0)


def _phase(name):
  """Colour and description of a phase."""
  for domain, color in DOMAINS.items():
    if domain in name:
      return color, f'{domain} phase'
  return '#7a7a7a', 'other phase'


def _panel(ax, title, lines):
  for index, (label, line) in enumerate(lines.items()):
    color = _color(label, index)
    if isinstance(line, tuple):
      _draw(ax, *line, color, label)
    else:
      ax.axhline(line, color=color, ls='--', lw=1.3, label=label)
  ax.set_title(title)
  ax.set_xlabel('step')
  ax.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))
  ax.xaxis.set_major_locator(ticker.MaxNLocator(5))
  ax.margins(x=0.02)
  if len(lines) > 1:
    ax.legend(loc='best')


def _draw(ax, steps, values, color, label):
  """Draws few points as they are, many faintly below their running mean."""
  if len(steps) < 30:
    ax.plot(steps, values, 'o-', color=color, ms=3, label=label)
    return
  # Pauses while other phases run stay open instead of being bridged.
  gaps = np.diff(steps)
  cuts = np.flatnonzero(gaps > 5 * np.median(gaps)) + 1
  for x, y in zip(
      np.split(steps, cuts), np.split(values, cuts), strict=True):
    if len(steps) > 100:
      ax.plot(x, y, color=color, alpha=0.25, lw=0.8)
      y = _running_mean(y)
    ax.plot(x, y, color=color, label=label)
    label = None


def _running_mean(values, window=9):
  """Centred mean over the part of the window that lies inside."""
  kernel = np.ones(min(window, len(values)))
  count = np.convolve(np.ones_like(values), kernel, 'same')
  return np.convolve(values, kernel, 'same') / count


def _color(label, index):
  """The colour of the domain or reference in a label, else by position."""
  words = re.split(r'\W|_', label.lower())
  for name, color in {**REFERENCES, **DOMAINS}.items():
    if name in words:
      return color
  return OTHERS[index % len(OTHERS)]


def _save(fig, path):
  with files.replacing(path) as temporary:
    fig.savefig(temporary, format='png')
