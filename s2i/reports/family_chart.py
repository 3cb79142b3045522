"""Who speaks the captions, family by family: direct speech, and a cascade where one was measured."""

from __future__ import annotations

from html import escape
from typing import Any

from s2i.reports.charts import ALONE
from s2i.tables import metric_label

LEFT, PANEL, GAP, ROW, TOP = 150, 180, 24, 30, 76  # px
APART = 5.0  # px between the dots of a family
DOTS = {"": "dot", "cascade": "hollow"}  # style by the group of a row: direct speech, or the cascade's


def family_chart(results: dict[str, Any], metrics: list[str]) -> str:
    """A whole SVG document: a panel a metric, a row a family, over an axis from 0 to 1; "" without families.

    Args:
        results: of `measure_robustness`.
        metrics: those that are shares.
    """
    names = ["clean", *(row["name"] for row in results["rows"] if row["group"] == "family")]
    if len(names) == 1:
        return ""
    rows = {row["name"]: row for row in results["rows"]}
    recogniser = results.get("sources", {}).get("recogniser", "")
    width, height = LEFT + len(metrics) * (PANEL + GAP), TOP + ROW * len(names) + 28
    elements = ['<text class="title" x="16" y="22">Captions spoken by each family of synthesisers</text>']
    elements += _legend(recogniser)
    for place, name in enumerate(names):
        label = "the data's own voices" if name == "clean" else name
        y = TOP + ROW * place + ROW / 2
        elements.append(f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    for number, metric in enumerate(metrics):
        left = LEFT + number * (PANEL + GAP)
        elements += _axis(left, metric_label(metric), TOP, TOP + ROW * len(names))
        for place, name in enumerate(names):
            for group, style in DOTS.items():
                row = rows.get(f"cascade, {name}" if group else name, {})
                y = TOP + ROW * place + ROW / 2 + (APART if group else -APART) * bool(recogniser)
                elements += _dot(left, y, style, row.get(metric))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" aria-label="Scores by synthesiser family">\n<style>{ALONE}</style>\n'
        f'<rect class="paper" width="{width}" height="{height}"/>\n' + "\n".join(elements) + "\n</svg>\n"
    )


def _legend(recogniser: str) -> list[str]:
    if not recogniser:
        return []
    return [
        '<circle class="dot" cx="22" cy="40" r="4.5"/><text x="32" y="44">direct, from speech</text>',
        '<circle class="hollow" cx="166" cy="40" r="4.5"/><text x="176" y="44">cascade: '
        f"{escape(recogniser)}, then text</text>",
    ]


def _axis(left: float, label: str, top: float, bottom: float) -> list[str]:
    elements = [f'<text x="{left + PANEL / 2}" y="{top - 12}" text-anchor="middle">{escape(label)}</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = left + share * PANEL
        style = "rule" if share else "zero"
        elements.append(f'<line class="{style}" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
        if share in (0, 0.5, 1):
            elements.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{share:g}</text>')
    return elements


def _dot(left: float, y: float, style: str, score: dict[str, Any] | None) -> list[str]:
    if not score:
        return []
    elements = []
    if score["interval95"]:
        low, high = (left + PANEL * min(max(end, 0), 1) for end in score["interval95"])
        elements.append(f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
    x = left + PANEL * score["value"]
    elements.append(f'<circle class="{style}" cx="{x:.1f}" cy="{y}" r="4.5"/>')
    return elements
