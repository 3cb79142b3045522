"""Tables as Markdown, HTML and text: one form of numbers, metrics named as the field writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

LABELS = {
    "fid": "FID",
    "kid": "KID",
    "inception_score": "Inception Score",
    "precision": "Precision",
    "recall": "Recall",
    "r_precision": "R-precision",
    "mAP": "mAP",
    "swap_accuracy": "Word swap",
    **{f"recall@{k}": f"Recall@{k}" for k in (1, 5, 10)},
}
DIGITS = {"fid": 2, "kid": 4, "median_rank": 0}  # after the point; of every other metric 3


@dataclass(frozen=True)
class Cell:
    """A text, and what stands smaller beside it: an interval, a note."""

    text: str = ""
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(phrase for phrase in (self.text, *self.remarks) if phrase)

    def html(self) -> str:
        remarks = "".join(f"<small>{escape(remark)}</small>" for remark in self.remarks if remark)
        return f"<span>{escape(self.text)}{remarks}</span>" if remarks else escape(self.text)


@dataclass(frozen=True)
class Heading:
    """A line over the rows that follow it in an HTML table; opened, it shows its `details`."""

    text: str
    details: tuple[str, ...]  # each a paragraph; code between backticks


Row = Mapping[str, "str | Cell"]  # by the names of columns; a missing cell is an empty one


def metric_label(metric: str) -> str:
    """A metric's name for people; "attribute_accuracy/wing" is "Attribute accuracy: wing"."""
    name, _, qualifier = metric.partition("/")
    label = LABELS.get(name) or name.replace("_", " ").capitalize()
    return f"{label}: {qualifier.replace('_', ' ')}" if qualifier else label


def number(
    value: float | None, interval95: Sequence[float] | None = None, metric: str = "", signed: bool = False
) -> Cell:
    """A metric's value, with as many digits as the metric needs, and its interval; empty without a value."""
    if value is None:
        return Cell()
    form = f"{{:{'+' if signed else ''}.{DIGITS.get(metric.partition('/')[0], 3)}f}}"
    interval = f"[{', '.join(form.format(end) for end in interval95)}]" if interval95 else ""
    return Cell(form.format(value), (interval,) if interval else ())


def filled(rows: Iterable[Row]) -> list[str]:
    """The columns in which some row has something, in the order in which rows name them."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(str(row.get(name, "")) for row in rows)]


def markdown(columns: Sequence[str], rows: Iterable[Row]) -> list[str]:
    """Lines of a table."""
    lines = [[str(row.get(name, "")).replace("|", r"\|") for name in columns] for row in rows]
    return [
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(line)} |" for line in lines),
    ]


def terminal(columns: Sequence[str], rows: Iterable[Row]) -> list[str]:
    """Lines with aligned columns under their names."""
    lines = [columns, *([str(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def prose(text: str) -> str:
    """A text's HTML; what stands between backticks in it is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def html(columns: Sequence[str], rows: Iterable[Row | Heading], style: str = "") -> str:
    """A `<table>`, of a class of the page's style sheet."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(_html_row(columns, row) for row in rows)
    kind = f' class="{style}"' if style else ""
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_row(columns: Sequence[str], row: Row | Heading) -> str:
    if isinstance(row, Heading):
        details = "".join(f"<p>{prose(text)}</p>" for text in row.details)
        folded = f"<details><summary>{escape(row.text)}</summary>{details}</details>"
        return f'<tr class="protocol"><th colspan="{len(columns)}">{folded}</th></tr>'
    cells = []
    for name in columns:
        cell = row.get(name, "")
        shown = cell.html() if isinstance(cell, Cell) else escape(cell)
        cells.append(f'<td data-column="{escape(name)}">{shown}</td>')
    return f"<tr>{''.join(cells)}</tr>"
