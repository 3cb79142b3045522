"""The robustness of a run, as files. `s2i robustness`.

results.json   every condition's numbers, with the procedure
table.md       the same for people
chart.svg      attribute accuracy (or mAP, or Recall@1), minus that of the clean recordings
families.svg   where families of synthesisers speak: each one's scores, beside the cascade's
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from s2i.analysis.caption_scores import METRICS
from s2i.analysis.robustness import measure_robustness
from s2i.errors import InputError
from s2i.evaluation.captions import sampling_note
from s2i.files.output_folder import OutputFolder
from s2i.reports.charts import Spread, spread_chart
from s2i.reports.family_chart import family_chart
from s2i.tables import Cell, filled, markdown, metric_label, number


def report_robustness(run: str | Path, output: str | Path | None = None, **sources: Any) -> Path:
    """Measure a path from speech in every condition; returns the table, in `output` or RUN/robustness.

    Args:
        sources: `noise`, `rooms`, `recordings`, `voices`, `text`, `recogniser` and `overrides`, as
            `measure_robustness` takes them.

    Raises InputError as it does, for an output folder that holds anything else, and for an exported model,
    which stays as it is, without one.
    """
    if output is None and not (Path(run) / "config.yaml").is_file():
        raise InputError(
            f"expected an output folder for a model that is no run of its own, found none for {run}:"
            " add --output DIR"
        )
    folder = OutputFolder(output or Path(run) / "robustness", "s2i robustness")
    results = measure_robustness(run, **sources)
    files = {
        "results.json": json.dumps(results, indent=2, ensure_ascii=False) + "\n",
        "chart.svg": _chart(results, _measured_metrics(results)[-1]),
        "table.md": _table(results),
    }
    families = chart_of_families(results)
    if families:
        files = {"families.svg": families, **files}
    with folder.held():
        for name, text in files.items():
            table = folder.write(name, text)
    return table


def chart_of_families(results: dict[str, Any]) -> str:
    """Each family's scores in every metric that was measured, as SVG; "" without families."""
    return family_chart(results, [*_measured_metrics(results), *_swap_metric(results)])


def _chart(results: dict[str, Any], metric: str) -> str:
    rows = [
        Spread(row["name"], difference["value"], tuple(difference["interval95"]) or None)
        for row in results["rows"]
        if (difference := row.get(metric, {}).get("difference"))
    ]
    of_cascades = any(row["group"] == "cascade" for row in results["rows"])
    added = ", of a cascade from direct speech" if of_cascades else ""
    return spread_chart(f"{metric_label(metric)}: difference from the clean recordings{added}", rows)


def condition_rows(results: dict[str, Any]) -> list[dict[str, Cell]]:
    """A row a condition: each metric, its change from the clean recordings, and the number of captions."""
    rows = []
    for row in results["rows"]:
        cells = {"condition": Cell(row["name"])}
        for metric in _measured_metrics(results):
            label, score = metric_label(metric), row.get(metric, {})
            change = score.get("difference") or {}
            cells[label] = number(score.get("value"), score.get("interval95"), metric)
            cells[f"change of {label}"] = number(
                change.get("value"), change.get("interval95"), metric, signed=True
            )
        for metric in _swap_metric(results):
            score = row.get(metric, {})
            cells[metric_label(metric)] = number(score.get("value"), score.get("interval95"), metric)
            cells["swaps"] = Cell(f"{row['swaps']:,}" if "swaps" in row else "")
        rows.append({**cells, "captions": Cell(f"{row['captions']:,}")})
    return rows


def _table(results: dict[str, Any]) -> str:
    rows = condition_rows(results)
    remarks = [sampling_note(results["identity"]).strip(), results.get("note", "")]
    paragraphs = filter(None, [results["procedure"], *remarks])
    return "\n".join([*markdown(filled(rows), rows), *(f"\n{each}" for each in paragraphs)]) + "\n"


def _swap_metric(results: dict[str, Any]) -> list[str]:
    """Of the rows that have word swaps; empty where none has."""
    return ["swap_accuracy"] * any("swap_accuracy" in row for row in results["rows"])


def _measured_metrics(results: dict[str, Any]) -> list[str]:
    """Those of METRICS that some row has."""
    return [metric for metric in METRICS if any(metric in row for row in results["rows"])]
