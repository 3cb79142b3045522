"""The complete table of a comparison: every metric of every protocol, with intervals, procedures, counts."""

from __future__ import annotations

from typing import Any

from s2i.evaluation.score import Score
from s2i.reports.document import Section
from s2i.reports.main_results import Scores, difference_of
from s2i.reports.sections import protocol_title
from s2i.tables import Cell, Heading, Row, html, metric_label, number

COLUMNS = ("", "speech", "text", "difference", "real", "chance", "n")


def every_result(results: dict[str, Any], scores: Scores) -> Section:
    """The main numbers, then, folded away, the parts: by speaker and by attribute."""
    whole: list[Row | Heading] = []
    details: list[Row | Heading] = []
    for protocol, text in results["protocols"].items():
        if protocol not in scores["speech"]:  # of an analysis
            continue
        by_name: dict[str, dict[str, Score]] = {}
        for modality, protocols in scores.items():
            for score in protocols[protocol]:
                column = modality if score.of == "run" else score.of
                by_name.setdefault(score.metric, {}).setdefault(column, score)
        main = {name for name in by_name if "/" not in name and not protocol.endswith("_speakers")}
        for rows, chosen in ((whole, main), (details, by_name.keys() - main)):
            if chosen:
                rows.append(_heading(protocol, text, results.get("extractors", {}).get(protocol, {})))
                rows += [_row(results, protocol, name, by_name[name]) for name in by_name if name in chosen]
    content = (
        f'{html(COLUMNS, whole)}<p class="note">In brackets: 95% intervals, t over classes. Difference:'
        " speech minus text, over the same captions. Each heading opens to the procedure.</p>"
    )
    if details:
        content += (
            f"<details><summary>By speaker and by attribute</summary>{html(COLUMNS, details)}</details>"
        )
    protocols = sum(isinstance(row, Heading) for row in whole)
    finding = f"{len(whole) - protocols} metrics of {protocols} protocols, with intervals and procedures"
    return Section("All results", finding, content)


def _heading(protocol: str, text: str, extractor: dict[str, str]) -> Heading:
    facts = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in extractor.items())
    return Heading(protocol_title(protocol), (text, facts, f"s2i evaluate --protocol {protocol}"))


def _row(results: dict[str, Any], protocol: str, metric: str, scores: dict[str, Score]) -> Row:
    values = {
        column: number(score.value, score.interval95, metric)
        for column, score in scores.items()
        if column in COLUMNS
    }
    if "majority" in scores:
        majority = f"majority {number(scores['majority'].value, metric=metric)}"
        values["chance"] = Cell(str(values.get("chance", "")), (majority,))
    if difference := difference_of(results, protocol, metric):
        values["difference"] = number(
            difference["speech_minus_text"], difference["interval95"], metric, signed=True
        )
    any_score = scores.get("speech") or next(iter(scores.values()))
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in any_score.counts.items())
    name = Cell(metric_label(metric), (any_score.note,))
    return {**values, "": name, "n": Cell(remarks=(counts,))}
