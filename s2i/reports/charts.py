"""Curves, bars and dots as inline SVG; colours come from the page's classes `speech`, `text`, `real` and
`chance`.

Written here instead of by matplotlib, whose SVG carries its own colours and fonts: these charts follow the
page's style sheet, light and dark, and need nothing that is not installed already. Measured on one thread, a
chart of two curves of 60 points: matplotlib 3.11 43 ms and 19 KB after .74 s to import and 75 MB of packages,
`line_chart` .14 ms and 2 KB after .02 s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 340, 200  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 26  # room around the plot
ROW = 14  # height of a bar
NAMED_CLASSES = 30  # at most; names of more have no room on a phone
NARROWEST = 320  # px of a plot on a phone
LONGEST_NAME, LETTER = 28, 6  # letters of a class's name, and px of each


@dataclass(frozen=True)
class Curve:
    """A line: its name, its class in the style sheet, whether it is dashed, its points (x, y)."""

    name: str
    style: str
    dashed: bool
    points: list[tuple[float, float]]


def line_chart(title: str, curves: Sequence[Curve], across: str = "step", note: str = "") -> str:
    """A figure with one line a curve, a legend and a note; "" where there is nothing to generate.

    Points that are no finite numbers are left out.
    """
    kept = [
        Curve(curve.name, curve.style, curve.dashed, points)
        for curve in curves
        if (points := [point for point in curve.points if all(map(math.isfinite, point))])
    ]
    if not kept:
        return ""
    xs = [x for curve in kept for x, _ in curve.points]
    ys = [y for curve in kept for _, y in curve.points]
    right = max(xs) or 1
    low, high = min(0.0, *ys), max(ys)
    high = high if high > low else low + 1

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + x / right * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    elements = []
    for value in (low, (low + high) / 2, high):
        _, y = place(0, value)
        elements.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        elements.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    bottom = HEIGHT - 8
    elements.append(f'<text x="{LEFT}" y="{bottom}">0</text>')
    elements.append(f'<text x="{WIDTH - RIGHT}" y="{bottom}" text-anchor="end">{across} {right:,.0f}</text>')
    for curve in kept:
        points = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in curve.points)
        dashes = ' stroke-dasharray="4 3"' if curve.dashed else ""
        if len(curve.points) == 1:
            x, y = place(*curve.points[0])
            elements.append(f'<circle class="{curve.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        elements.append(f'<polyline class="{curve.style}"{dashes} points="{points}"/>')
    legend = [(curve.name, curve.style, curve.dashed) for curve in kept]
    return _figure(title, HEIGHT, elements, legend, note=note)


def bar_chart(title: str, rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Horizontal bars of shares, 0 to 1: (label, {style: value}) a row; "" without rows."""
    if not rows:
        return ""
    styles = list(dict.fromkeys(style for _, values in rows for style in values))
    elements, y, left = [], TOP, 96
    for label, values in rows:
        middle = y + ROW * len(values) / 2 + 4
        elements.append(f'<text x="{left - 6}" y="{middle:.0f}" text-anchor="end">{escape(label)}</text>')
        for style, value in values.items():
            width = max(0.0, min(1.0, value)) * (WIDTH - left - 40)
            elements.append(
                f'<rect class="{style}" x="{left}" y="{y}" width="{width:.1f}" height="{ROW - 3}"/>'
                f'<text x="{left + width + 4:.1f}" y="{y + ROW - 4}">{value:.3f}</text>'
            )
            y += ROW
        y += 8
    return _figure(title, y, elements, [(style, style, False) for style in styles])


@dataclass(frozen=True)
class Dot:
    """A value of a share, 0 to 1, its class in the style sheet and its interval."""

    style: str
    value: float
    interval: Sequence[float] | None = None


def dot_chart(title: str, rows: Sequence[tuple[str, str, Sequence[Dot]]]) -> str:
    """(label, remark, dots) a row, on one scale from 0 to 1: dots with an interval on lines of their own,
    those without as marks over the row's height; "" without rows."""
    if not rows:
        return ""
    width, left, right, line = 440, 8, 8, 15
    elements, y = [], 4

    def place(share: float) -> float:
        return left + max(0.0, min(1.0, share)) * (width - left - right)

    for label, remark, dots in rows:
        elements.append(
            f'<text class="label" x="0" y="{y + 11}">{escape(label)} <tspan>{escape(remark)}</tspan></text>'
        )
        y += 18
        with_interval = [dot for dot in dots if dot.interval]
        height = line * max(1, len(with_interval))
        elements.append(
            f'<rect class="track" x="{left}" y="{y}" width="{width - left - right}" height="{height}"/>'
        )
        for dot in dots:
            if dot.interval:
                continue
            tooltip = f"<title>{escape(label)}, {dot.style}: {dot.value:.3f}</title>"
            elements.append(
                f'<g>{tooltip}<rect class="{dot.style}" x="{place(dot.value) - 1.5:.1f}" y="{y}" width="3"'
                f' height="{height}"/></g>'
            )
        for number, dot in enumerate(with_interval):
            middle = y + line * (number + 0.5)
            ends = [place(end) for end in dot.interval or ()]
            tooltip = f"<title>{escape(label)}, {dot.style}: {dot.value:.3f}</title>"
            elements.append(
                f'<g>{tooltip}<line class="{dot.style}" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}"'
                f' y1="{middle}" y2="{middle}"/><circle class="{dot.style}" cx="{place(dot.value):.1f}"'
                f' cy="{middle}" r="4.5"/></g>'
            )
        y += height + 12
    for share in (0, 0.25, 0.5, 0.75, 1):
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        x = 0 if share == 0 else width if share == 1 else place(share)
        elements.append(f'<text x="{x:.1f}" y="{y + 8}" text-anchor="{anchor}">{share:g}</text>')
    styles = dict.fromkeys(dot.style for _, _, dots in rows for dot in dots)
    return _figure(title, y + 14, elements, [(style, style, False) for style in styles], width)


def class_chart(title: str, rows: Sequence[tuple[str, float, float]]) -> str:
    """(class, from text, from speech), shares from 0 to 1, a column a class: two dots and what lies between
    them, from where text leads most to where speech does; of few classes with their names. "" without rows.

    As wide as the page: places across are in percent, heights and text in px, so that text is as large on a
    phone.
    """
    if not rows:
        return ""
    top, bottom = 24, 270  # of the plot
    ordered = sorted(rows, key=lambda row: (row[2] - row[1], row[0]))
    named = len(ordered) <= NAMED_CLASSES
    longest = max(len(_cut(name)) for name, *_ in ordered) if named else 0

    def place(share: float) -> float:
        return top + (1 - share) * (bottom - top)

    elements = [
        '<text x="0" y="11">text leads most</text>',
        '<text x="100%" y="11" text-anchor="end">speech leads most</text>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = place(share)
        elements.append(f'<line class="rule" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        elements.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{share:g}</text>')
    radius = max(2.5, min(5.0, NARROWEST / len(ordered) / 2))
    for number, (name, text, speech) in enumerate(ordered):
        leader = "speech" if speech > text else "text"
        upright = f'transform="translate(4 {bottom + 10}) rotate(-90)" text-anchor="end"'
        label = f"<text {upright}>{escape(_cut(name))}</text>" if named else ""
        elements.append(
            f'<svg x="{100 * (number + 0.5) / len(ordered):.2f}%">'
            f"<title>{escape(name)}: {speech:.3f} from speech, {text:.3f} from text</title>"
            f'<line class="{leader}" x1="0" x2="0" y1="{place(text):.1f}" y2="{place(speech):.1f}"/>'
            f'<circle class="text" cx="0" cy="{place(text):.1f}" r="{radius:.1f}"/>'
            f'<circle class="speech" cx="0" cy="{place(speech):.1f}" r="{radius:.1f}"/>'
            f"{label}</svg>"
        )
    legend = [("speech", "speech", False), ("text", "text", False)]
    height = bottom + 14 + LETTER * longest
    return _figure(title, height, elements, legend, None, "full")


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1].rstrip()}…"


@dataclass(frozen=True)
class Spread:
    """A row of a spread chart: label, value, its interval, and whether it is a repetition, generated
    hollow."""

    label: str
    value: float
    interval: tuple[float, float] | None
    repeated: bool = False


def spread_chart(title: str, rows: Sequence[Spread]) -> str:
    """A whole SVG document: a dot and its interval a row, over a line at 0; repetitions span a grey band."""
    left, width, row, top = 250, 760, 22, 40
    height = top + row * len(rows) + 34
    ends = [0.0, *(spread.value for spread in rows), *(end for s in rows for end in s.interval or ())]
    low, high = min(ends), max(ends)
    room = (high - low or 1) * 0.04
    low, high = low - room, high + room

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - 20)

    elements = [f'<text class="title" x="16" y="22">{escape(title)}</text>']
    repeated = [spread.value for spread in rows if spread.repeated]
    if repeated:
        start, end = place(min(0.0, *repeated)), place(max(0.0, *repeated))
        elements.append(
            f'<rect class="band" x="{start:.1f}" y="{top - 8}" width="{end - start:.1f}"'
            f' height="{row * len(rows) + 4}"/>'
        )
    bottom = top + row * len(rows)
    step = 10 ** math.floor(math.log10(high - low))
    step = step / 2 if (high - low) / step < 3 else step
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        x = place(number * step)
        style = "zero" if number == 0 else "rule"
        elements.append(f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 8}" y2="{bottom - 4}"/>')
        elements.append(
            f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{number * step:+.3g}</text>'
        )
    for number, spread in enumerate(rows):
        y = top + row * number + 6
        elements.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(spread.label)}</text>')
        if spread.interval:
            ends = " ".join(
                f'x{n}="{place(end):.1f}"' for n, end in zip((1, 2), spread.interval, strict=True)
            )
            elements.append(f'<line class="interval" {ends} y1="{y}" y2="{y}"/>')
        style = "hollow" if spread.repeated else "dot"
        elements.append(f'<circle class="{style}" cx="{place(spread.value):.1f}" cy="{y}" r="4.5"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" aria-label="{escape(title)}">\n<style>{ALONE}</style>\n'
        f'<rect class="paper" width="{width}" height="{height}"/>\n' + "\n".join(elements) + "\n</svg>\n"
    )


ALONE = (  # the look of a chart that no page styles
    ".paper{fill:#fbfaf7} text{font:12px system-ui,sans-serif;fill:#5b6470}"
    " .title{font-size:14px;fill:#1c1e21} .band{fill:#e6e2d8} .rule{stroke:#e2dfd7} .zero{stroke:#5b6470}"
    " .interval{stroke:#b3261e;stroke-width:2} .dot{fill:#b3261e}"
    " .hollow{fill:#fbfaf7;stroke:#b3261e;stroke-width:2}"
)


def _figure(
    title: str,
    height: float,
    elements: list[str],
    legend: list[tuple[str, str, bool]],
    width: float | None = WIDTH,
    style: str = "",
    note: str = "",
) -> str:
    keys = "".join(
        f'<li><span class="key {name_of_style}{" dashed" if dashed else ""}"></span>{escape(name)}</li>'
        for name, name_of_style, dashed in legend
    )
    paragraph = f'<p class="note">{escape(note)}</p>' if note else ""
    # Without a width it has that of the page, in px.
    size = f'viewBox="0 0 {width} {height}"' if width else f'style="height: {height:.0f}px"'
    return (
        f'<figure class="{f"chart {style}".strip()}"><figcaption>{escape(title)}</figcaption>'
        f'<svg {size} role="img" aria-label="{escape(title)}">{"".join(elements)}</svg>'
        f'<ul class="legend">{keys}</ul>{paragraph}</figure>'
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
