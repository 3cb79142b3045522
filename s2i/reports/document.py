"""A report as one HTML document: header, sections that open, contents; style and script are inside it.

Functions that return strings instead of templates: most of a page is tables and figures built from data, each
a few lines of HTML, and a missing value is an error of Python's here, not an empty place on the page.
Measured: jinja2 makes a table of 60 rows in 1.0 ms after 52 ms to import and compile, `tables.html` in .2 ms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from s2i.reports.style import SCRIPT, STYLE

_SOURCE = re.compile(r'<img (?![^>]*\bwidth=)([^>]*?src="([^"]+)")')
_SVG_SIZE = re.compile(r'<svg[^>]*? width="(\d+)"[^>]*? height="(\d+)"')


@dataclass(frozen=True)
class Section:
    """A part of a page: its title, what it found in half a sentence, and its HTML.

    Folded, it shows the first two; one without content is left out.
    """

    title: str
    finding: str
    content: str
    folded: bool = True

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def document(title: str, header: str, sections: Iterable[Section]) -> str:
    """A whole document. Contents and the sections that have something, in this order, follow the header."""
    kept = [section for section in sections if section.content]
    body = "\n".join([header, _contents(kept), *map(_section, kept)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _contents(sections: list[Section]) -> str:
    links = "".join(
        f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>' for section in sections
    )
    unfold = '<button type="button" id="unfold">Open all</button>'
    return f'<nav aria-label="Contents"><ul>{links}</ul>{unfold}</nav>'


def _section(section: Section) -> str:
    title, finding = escape(section.title), escape(section.finding)
    if not section.folded:
        paragraph = f'<p class="soft">{finding}</p>' if finding else ""
        return f'<section id="{section.anchor}"><h2>{title}</h2>{paragraph}{section.content}</section>'
    return (
        f'<details class="section" id="{section.anchor}"><summary><h2>{title}</h2>'
        f'<span class="finding">{finding}</span></summary><div>{section.content}</div></details>'
    )


def figure(description: str, source: str, name: str, style: str = "") -> str:
    """An image with its name under it."""
    kind = f' class="{style}"' if style else ""
    return (
        f'<figure{kind}><img loading="lazy" src="{source}" alt="{escape(description)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
    )


def with_sizes(html: str, folder: Path) -> str:
    """The page with each image's width and height in px, read from its file in `folder`, so that nothing on
    it moves while they load."""

    def sized(tag: re.Match[str]) -> str:
        width, height = _size(folder / tag[2])
        return f'<img width="{width}" height="{height}" {tag[1]}'

    return _SOURCE.sub(sized, html)


def _size(path: Path) -> tuple[int, int]:
    if path.suffix == ".svg":
        match = _SVG_SIZE.search(path.read_text(encoding="utf-8"))
        assert match, path  # one of ours has both
        return int(match[1]), int(match[2])
    with Image.open(path) as image:
        return image.size
