"""The robustness of a run, as files. `s2i robustness`.

results.json   every condition's numbers, with the procedure
table.md       the same for people
chart.svg      attribute accuracy (or mAP, or Recall@1), minus that of the clean recordings
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from s2i.analysis.caption_scores import METRICS
from s2i.analysis.robustness import measure_robustness
from s2i.files.output_folder import OutputFolder
from s2i.reports.charts import Spread, spread_chart
from s2i.reports.labels import markdown_table, metric_label, with_interval


def report_robustness(run: str | Path, output: str | Path | None = None, **sources: Any) -> Path:
    """Measure a run from speech in every condition; returns the table, in `output` (RUN/robustness).

    Args:
        sources: `noise`, `rooms`, `recordings`, as `measure_robustness` takes them.

    Raises InputError as it does, and for an output folder that holds anything else.
    """
    folder = OutputFolder(output or Path(run) / "robustness", "s2i robustness")
    results = measure_robustness(run, **sources)
    files = {
        "results.json": json.dumps(results, indent=2, ensure_ascii=False) + "\n",
        "chart.svg": _chart(results, _measured_metrics(results)[-1]),
        "table.md": _table(results),
    }
    with folder.held():
        for name, text in files.items():
            table = folder.write(name, text)
    return table


def _chart(results: dict[str, Any], metric: str) -> str:
    rows = [
        Spread(row["name"], difference["value"], tuple(difference["interval95"]) or None)
        for row in results["rows"]
        if (difference := row.get(metric, {}).get("difference"))
    ]
    return spread_chart(f"{metric_label(metric)}: difference from the clean recordings", rows)


def _table(results: dict[str, Any]) -> str:
    metrics = _measured_metrics(results)
    head = [cell for metric in metrics for cell in (metric_label(metric), "change")]
    rows = []
    for row in results["rows"]:
        cells = [row["name"], f"{row['captions']:,}"]
        for metric in metrics:
            score = row.get(metric, {})
            change = score.get("difference", {})
            cells.append(with_interval(score.get("value"), score.get("interval95")))
            cells.append(with_interval(change.get("value"), change.get("interval95"), signed=True))
        rows.append(cells)
    lines = markdown_table(["condition", "captions", *head], rows)
    return "\n".join([*lines, "", results["procedure"]]) + "\n"


def _measured_metrics(results: dict[str, Any]) -> list[str]:
    """Those of METRICS that some row has."""
    return [metric for metric in METRICS if any(metric in row for row in results["rows"])]
