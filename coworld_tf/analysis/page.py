"""The files of a comparison; its page holds figures and videos itself."""

import base64
import html
import pathlib
import string

from coworld_tf.analysis import remarks as remark
from coworld_tf.analysis import tables, videos
from dreamerv2_base import files

HTML, MARKDOWN = 'comparison.html', 'comparison.md'
TEMPLATE = pathlib.Path(__file__).with_name('page.html')

text = html.escape


def write(found, figures, folder):
  """Writes CSV files, Markdown and the page.

  Args:
    found: comparison.Comparison.
    figures: {title: file name} of PNG files in the folder.
    folder: existing directory.
  """
  shown, damaged = videos.choose(found)
  remarks = remark.remarks(found)
  if damaged:
    remarks['Damaged videos'] = damaged
  tables.write_csv(found, folder)
  for name, content in (
      (MARKDOWN, tables.markdown(found, figures, remarks)),
      (HTML, page(found, figures, folder, remarks, shown))):
    with files.replacing(folder / name) as temporary:
      temporary.write_text(content, encoding='utf-8')


def page(found, figures, folder, remarks, shown):
  """The whole page as HTML that needs no other file.

  Args:
    found: comparison.Comparison.
    figures: {title: file name}.
    folder: directory of the figures.
    remarks: {title: lines} of what to know first.
    shown: list of videos.Video.
  """
  seeds = {run.seed for run in found.runs}
  plots = {
      title: _figure(title, folder / name) for title, name in figures.items()}
  body = [
      _remarks(remarks),
      '<h2>Returns</h2>', _returns(found), plots.pop('Returns', ''),
      '<h2>Aggregates</h2>', _grid(tables.aggregate_texts(found), found),
      plots.pop('Aggregates over pairs', ''),
      *(f'<h2>{text(title)}</h2>{plot}' for title, plot in plots.items()),
      _videos(found, shown), _configuration(found), _runs(found),
      '<h2>Definitions</h2><ul>',
      *(f'<li>{text(line)}</li>' for line in tables.DEFINITIONS), '</ul>']
  template = string.Template(TEMPLATE.read_text(encoding='utf-8'))
  return template.substitute(
      methods=text(', '.join(found.methods)), body='\n'.join(body),
      lead=text(
          f'{len(found.runs)} runs: {_count(found.methods, "method")}, '
          f'{_count(found.columns, "pair")} of tasks, '
          f'{_count(seeds, "seed")}. Everything is measured against '
          f'{found.reference}.'))


def _remarks(lines):
  if not lines:
    return ''
  entries = ''.join(
      f'<dt>{text(title)}</dt><dd>'
      + ''.join(f'<div>{text(entry)}</div>' for entry in entries) + '</dd>'
      for title, entries in lines.items())
  return (
      '<h2>What to know first</h2>'
      f'<div class="card remarks"><dl>{entries}</dl></div>')


def _returns(found):
  head = ''.join(
      f'<th>{_pair(name)}<small>{text(column.source or "no source")}<br>'
      f'{text(column.target)}<br>{text(column.data or "unknown")} data</small>'
      '</th>' for column, name in found.columns.items())
  rows = ''.join(
      f'<tr class="known"><th>{name}</th>' + ''.join(
          f'<td>{tables.number(getattr(found.facts[column], key))}</td>'
          for column in found.columns) + '</tr>'
      for name, key in (('random policy', 'random'), ('dataset', 'dataset')))
  for method in found.methods:
    cells = ''.join(
        f'<td>{_cell(found, method, column)}</td>' for column in found.columns)
    rows += f'<tr{_mark(found, method)}><th>{text(method)}</th>{cells}</tr>'
  return (
      '<div class="card table"><table><thead><tr><th>return</th>'
      f'{head}</tr></thead><tbody>{rows}</tbody></table></div>')


def _cell(found, method, column):
  cell = found.cells.get((method, column))
  if not cell:
    return tables.NONE
  *facts, paper = tables.cell_facts(found, method, column)
  return (
      f'<b>{tables.number(cell.mean)}</b> ± {tables.number(cell.std)}'
      + ''.join(f'<small>{line}</small>' for line in facts if line)
      + (paper and f'<small class="paper">{paper}</small>'))


def _grid(rows, found):
  """A table of texts whose first row and column are names."""
  head, *body = [
      f'<th>{text(row[0])}</th>' + ''.join(
          f'<{tag}>{text(value)}</{tag}>' for value in row[1:])
      for row, tag in zip(rows, ['th'] + ['td'] * len(rows))]
  body = ''.join(
      f'<tr{_mark(found, row[0])}>{cells}</tr>'
      for row, cells in zip(rows[1:], body))
  return (
      f'<div class="card table"><table><thead><tr>{head}</tr></thead>'
      f'<tbody>{body}</tbody></table></div>')


def _figure(title, path):
  return (
      '<p></p><figure class="card plot">'
      f'<img alt="{text(title)}" src="{_uri(path.read_bytes(), "png")}">'
      '</figure>')


def _videos(found, shown):
  sections = ''
  for column, name in found.columns.items():
    entries = ''.join(
        f'<figure><img alt="{text(f"Episode of {video.method}, {name}")}" '
        f'src="{_uri(video.data, "gif")}"><figcaption>{text(video.method)}'
        f'<br><small>seed {video.run.seed}, return '
        f'{tables.number(video.run.returns[0])}</small></figcaption></figure>'
        for video in shown if video.column == column)
    if entries:
      sections += f'<h3>{_pair(name)}</h3><div class="videos">{entries}</div>'
  if not sections:
    return ''
  return (
      '<h2>Episodes</h2><p class="soft">The first episode of the evaluation '
      'that gives the score, of the seed with the median score among those '
      'with a video; faster than it was where it has more than '
      f'{videos.FRAMES} steps.</p><div class="card">{sections}</div>')


def _configuration(found):
  parts = []
  for column, name in found.columns.items():
    methods = [x for x in found.methods if (x, column) in found.cells]
    table = remark.configuration(found, column)
    if table:
      rows = [('setting', *methods), *(
          (key, *(row.get(x, '') for x in methods))
          for key, row in table.items())]
      parts.append(
          f'<details><summary>{_pair(name)}</summary>{_grid(rows, found)}'
          '</details>')
  if not parts:
    return ''
  return (
      '<h2>Configuration</h2><p class="soft">Settings in which the methods of '
      f'a pair differ.</p><div class="card">{"".join(parts)}</div>')


def _runs(found):
  rows = ''.join(
      f'<tr><th>{text(run.label)}</th><td>{_pair(name)}</td>'
      f'<td>{run.seed}</td><td>{tables.number(run.mean)}</td>'
      f'<td>{len(run.returns)}</td><td>{run.origin}</td>'
      + ''.join(f'<td>{value}</td>' for value in _spent(run.spent))
      + f'<td class="path">{text(str(run.path))}</td></tr>'
      for (_, column), cell in found.cells.items()
      for name in [found.columns[column]] for run in cell.runs)
  head = ''.join(f'<th>{name}</th>' for name in (
      'method', 'pair', 'seed', 'return', 'episodes', 'scores of',
      'source frames', 'source updates', 'target updates', 'hours',
      'directory'))
  return (
      '<h2>Runs</h2><div class="card"><details><summary>All runs</summary>'
      f'<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
      '</details></div>')


def _spent(counts):
  """Texts of what a training took."""
  hours = counts['seconds'] / 3600 if 'seconds' in counts else None
  return [*(
      f'{counts[key]:,}' if key in counts else tables.NONE
      for key in ('source_frames', 'source_updates', 'target_updates')),
          tables.number(hours, 2)]


def _mark(found, method):
  return ' class="reference"' if method == found.reference else ''


def _pair(name):
  return text(name.replace('->', ' → ').replace(' > ', ' → '))


def _count(things, noun):
  return f'{len(things)} {noun}{"s" * (len(things) != 1)}'


def _uri(data, kind):
  return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
