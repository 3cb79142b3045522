"""The few numbers that a report leads with: five rows, one chart, one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s2i.evaluation.score import Score
from s2i.reports.charts import Dot, dot_chart
from s2i.reports.sections import difference_name
from s2i.tables import Cell, filled, html, metric_label, number

Scores = dict[str, dict[str, list[Score]]]  # modality -> protocol -> scores
ROWS = 5  # at most
COLUMNS = ("speech", "text", "real", "chance")
# Protocol, metric, and what is measured: the first five that there are.
LEADING = (
    ("attribute_accuracy", "attribute_accuracy", "attributes that the caption mentions"),
    ("class_retrieval_by_generated", "mAP", "finds real images of its class"),
    ("r_precision", "r_precision", "finds its caption among 100"),
    ("retrieval_by_caption", "recall@1", "finds real images of its class"),
    ("classifier_distances", "kid", "classifier's features; less is better"),
    ("retrieval_by_caption", "mAP", "finds real images of its class"),
    ("classifier_distances", "fid", "classifier's features; less is better"),
)
OF = {  # what a protocol's metrics are of
    "attribute_accuracy": "generated images",
    "class_retrieval_by_generated": "generated images",
    "r_precision": "generated images",
    "retrieval_by_caption": "retrieval by caption",
    "classifier_distances": "generated images",
}
NO_SHARES = ("kid", "fid")  # whose scale is not 0 to 1


@dataclass(frozen=True)
class MainResult:
    """One row: `scores` by column, "speech" and "text" (those there are), "real", "chance"."""

    protocol: str
    metric: str
    measured: str  # what is measured
    scores: dict[str, Score]

    @property
    def name(self) -> str:
        """The metric, and what it is of: no other row has this name."""
        return leading_name(self.protocol, self.metric)


def leading_name(protocol: str, metric: str) -> str:
    """A metric of `LEADING` with what it is of: "mAP of generated images"."""
    return f"{metric_label(metric)} of {OF[protocol]}"


def main_results(scores: Scores) -> list[MainResult]:
    """The rows of the main table. Real images and chance are the first modality's."""
    rows = []
    for protocol, metric, measured in LEADING:
        columns: dict[str, Score] = {}
        for modality, protocols in scores.items():
            for score in protocols.get(protocol, []):
                if score.metric == metric:
                    columns.setdefault(modality if score.of == "run" else score.of, score)
        if columns.keys() & scores.keys():
            rows.append(MainResult(protocol, metric, measured, columns))
    return rows[:ROWS]


def difference_of(results: dict[str, Any], protocol: str, metric: str) -> dict[str, Any] | None:
    """Speech minus text in results.json; None where it has none."""
    if protocol.endswith("_speakers") or "difference" not in results:
        return None
    retrieved = results["retrieval"].get("speech", {})
    return results["difference"].get(difference_name(protocol, metric, retrieved))


def headline(rows: Sequence[MainResult], results: dict[str, Any]) -> str:
    """The first row in one line: the difference with its interval, or one modality's value with its own."""
    if not rows:
        return "Generated images"
    first = rows[0]
    difference = difference_of(results, first.protocol, first.metric)
    if difference and first.metric not in NO_SHARES:
        value, ends = difference["speech_minus_text"], difference["interval95"]
        shown = number(value, ends, first.metric, signed=True)
        if ends[0] <= 0 <= ends[1]:
            return f"{first.name}: no difference shown between speech and text, {shown}"
        low, high = sorted(map(abs, ends))
        shown = number(abs(value), (low, high), first.metric)
        return f"{first.name}: speech is {shown} {'ahead of' if value > 0 else 'behind'} text"
    values = (
        f"{number(score.value, score.interval95, first.metric)} from {modality}"
        for modality, score in first.scores.items()
        if modality in ("speech", "text")
    )
    return f"{first.name}: {', '.join(values)}"


def summary(rows: Sequence[MainResult]) -> str:
    """The first row's values in one sentence."""
    if not rows:
        return ""
    first = rows[0]
    places = {"speech": "from speech", "text": "from text", "real": "of real images", "chance": "by chance"}
    values = [
        f"{number(first.scores[column].value, metric=first.metric)} {place}"
        for column, place in places.items()
        if column in first.scores
    ]
    return f"{first.name}: {', '.join(values)}."


def main_table(rows: Sequence[MainResult], results: dict[str, Any]) -> str:
    """A row a metric, with intervals; and the same as a chart."""
    lines = []
    for row in rows:
        cells: dict[str, Cell] = {"": Cell(row.name, (row.measured,))}
        for column in COLUMNS:
            if score := row.scores.get(column):
                interval = score.interval95 if column in ("speech", "text") else None
                cells[column] = number(score.value, interval, row.metric)
            if column == "text" and (difference := difference_of(results, row.protocol, row.metric)):
                cells["difference"] = number(
                    difference["speech_minus_text"], difference["interval95"], row.metric, signed=True
                )
        lines.append(cells)
    order = [name for name in ("", "speech", "text", "difference", "real", "chance") if name in filled(lines)]
    style = "main-table both" if {"speech", "text"} <= {*order} else "main-table"
    charted = [(row.name, row.measured, _dots(row)) for row in rows if row.metric not in NO_SHARES]
    chart = dot_chart("On one scale, with 95% intervals", charted)
    return f'<div class="main">{html(order, lines, style)}{chart}</div>'


def _dots(row: MainResult) -> list[Dot]:
    return [
        Dot(column, score.value, score.interval95 if column in ("speech", "text") else None)
        for column in COLUMNS
        if (score := row.scores.get(column))
    ]
