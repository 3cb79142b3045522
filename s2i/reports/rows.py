"""Records of what was measured, as people read them: a row a metric, beside it what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from s2i.evaluation.captions import SAMPLING, sampling_note
from s2i.tables import Cell, filled, metric_label, number, terminal

Record = dict[str, Any]  # a line of a run's metrics.jsonl
Row = dict[str, Record]  # one metric's records, by what they are of
COLUMNS = {"value": "run", "real": "real", "chance": "chance", "majority": "majority"}  # of which records
FORMER_FORM = "percentile bootstrap over classes"  # of intervals whose records name none
# Records that agree in all of these are of one row.
ONE_ROW = ("modality", "protocol", "metric", "split", "weights", "extractor_hash", *SAMPLING)


def rows(records: Iterable[Record]) -> list[Row]:
    """Rows in the order in which their first records stand; of records of the same the last one counts."""
    by_key: dict[tuple[Any, ...], Row] = {}
    for record in records:
        row = by_key.setdefault(tuple(record.get(key) for key in ONE_ROW), {})
        row[record.get("of", "run")] = record
    return list(by_key.values())


def interval_forms(measured: Iterable[Row]) -> str:
    """How the intervals of these rows were made; "" where there are none."""
    records = (record for row in measured for record in row.values() if record.get("interval95"))
    return " and ".join(dict.fromkeys(record.get("interval_form") or FORMER_FORM for record in records))


def leading(row: Row) -> Record:
    """The run's own record; where there is none, the first."""
    return row.get("run") or next(iter(row.values()))


def cells(row: Row) -> dict[str, Cell]:
    """A row's cells, column by column; empty for what it hasn't."""
    record = leading(row)
    return {
        **{name: value(row.get(of)) for name, of in COLUMNS.items()},
        "spread": number(record.get("spread"), metric=record["metric"]),
        "n": Cell(counted(record)),
        "note": Cell(record.get("note", "")),
    }


def value(record: Record | None) -> Cell:
    """What was measured, with its interval."""
    return number(record["value"], record.get("interval95"), record["metric"]) if record else Cell()


def counted(record: Record) -> str:
    """How many of each kind a value is of."""
    return ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in record["counts"].items())


def lines(records: Iterable[Record], procedures: dict[str, str]) -> list[str]:
    """The rows for a terminal, columns aligned, below each protocol's procedure and extractor.

    Args:
        procedures: {protocol: its text}.
    """
    text: list[str] = []
    for head, group in groupby(rows(records), _head):
        table = [{"": metric_label(leading(row)["metric"]), **cells(row)} for row in group]
        protocol, about = head
        text += [f"# {protocol}: {procedures[protocol]}", *(f"# {line}" for line in about)]
        text += [*terminal(filled(table), table), ""]
    return text[:-1]


def _head(row: Row) -> tuple[str, tuple[str, ...]]:
    """A protocol, and what its rows have in common."""
    record = leading(row)
    captions = "".join(
        f"; {key.replace('_', ' ')}: {count:,} {reason}"
        for key in ("left_out", "read_in_part")
        for reason, count in record.get(key, {}).items()
    )
    return record["protocol"], (
        f"from {record['modality']}, {record['split']} split, step {record['step']}, seed {record['seed']},"
        f" {record['weights']} weights{captions}",
        *filter(None, [sampling_note(record).strip()]),
        f"extractor: {record['extractor']} ({record['extractor_hash']}), resize: {record['resize']};"
        f" reference: {record['reference']}",
    )
