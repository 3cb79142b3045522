"""A handful of numbers for a terminal: those that a report leads with.

`python -m s2i.reports.summary FOLDER` prints those of a report that was written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s2i.files.atomic import read_json
from s2i.reports.main_results import COLUMNS, LEADING, ROWS, difference_of, leading_name
from s2i.reports.rows import Record, value
from s2i.tables import Cell, Row, filled, number, terminal

ORDER = ("", *COLUMNS[:2], "difference", *COLUMNS[2:], "measured")


def summary(records: Sequence[Record], results: dict[str, Any] | None = None) -> list[str]:
    """At most five rows under their head; none where nothing that a report leads with was measured.

    Args:
        records: of one modality, or of both.
        results: of a comparison, as results.json has them, for the difference of speech and text.
    """
    table: list[Row] = []
    for protocol, metric, measured in LEADING:
        row: dict[str, Record] = {}
        for record in records:
            if (record["protocol"], record["metric"]) == (protocol, metric):
                of = record.get("of", "run")
                row.setdefault(record["modality"] if of == "run" else of, record)
        cells: dict[str, Cell] = {"": Cell(leading_name(protocol, metric))}
        for column in COLUMNS:
            if column in row:
                is_run = column in COLUMNS[:2]
                cells[column] = value(row[column]) if is_run else number(row[column]["value"], metric=metric)
        if not cells.keys() & set(COLUMNS[:2]):
            continue
        if results and (difference := difference_of(results, protocol, metric)):
            ends = difference["interval95"]
            cells["difference"] = number(difference["speech_minus_text"], ends, metric, signed=True)
        table.append({**cells, "measured": Cell(measured)})
    table = table[:ROWS]
    columns = [name for name in ORDER if name in filled(table)]
    return terminal(columns, table) if table else []


def of_report(folder: Path) -> list[str]:
    """A report's page, and its summary."""
    results = read_json(folder / "results.json", "a report's results", "make it again")
    records = results.get("records", [])
    if isinstance(records, dict):  # of a comparison, by modality
        records = [record for side in records.values() for record in side]
    return [f"report: {folder / 'index.html'}", *summary(records, results)]


if __name__ == "__main__":
    print("\n".join(of_report(Path(sys.argv[1]))))
