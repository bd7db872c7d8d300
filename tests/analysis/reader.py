"""Reads the pages of comparisons."""

import html.parser


class Page(html.parser.HTMLParser):
  """Text, open tags and addresses of a page."""

  def __init__(self, content):
    super().__init__()
    self.words, self.open, self.addresses = [], [], []
    self.feed(content)
    self.text = ' '.join(' '.join(self.words).split())

  def handle_starttag(self, tag, attrs):
    if tag not in ('meta', 'link', 'img', 'br'):
      self.open.append(tag)
    self.addresses += [v for k, v in attrs if k in ('src', 'href')]

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != 'style':
      self.words.append(data)
