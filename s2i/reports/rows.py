"""Records of what was measured, as people read them: a row a metric, beside it what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

Record = dict[str, Any]  # a line of a run's metrics.jsonl
Row = dict[str, Record]  # one metric's records, by what they are of
COMPARED_WITH = ("real", "chance", "majority")
CELLS = ("value", *COMPARED_WITH, "spread", "n", "note")
# Records that agree in all of these are of one row.
FORMER_FORM = "percentile bootstrap over classes"  # of intervals whose records name none
ONE_ROW = ("modality", "protocol", "metric", "split", "weights", "extractor_hash")


def rows(records: Iterable[Record]) -> list[Row]:
    """Rows in the order in which their first records stand; of records of the same the last one counts."""
    found: dict[tuple[Any, ...], Row] = {}
    for record in records:
        row = found.setdefault(tuple(record.get(key) for key in ONE_ROW), {})
        row[record.get("of", "run")] = record
    return list(found.values())


def interval_forms(found: Iterable[Row]) -> str:
    """How the intervals of these rows were made; "" where there are none."""
    records = (record for row in found for record in row.values() if record.get("interval95"))
    return " and ".join(dict.fromkeys(record.get("interval_form") or FORMER_FORM for record in records))


def leading(row: Row) -> Record:
    """The run's own record; where there is none, the first."""
    return row.get("run") or next(iter(row.values()))


def cells(row: Row) -> dict[str, str]:
    """A row's CELLS in words; "" for what it hasn't."""
    record = leading(row)
    spread = record.get("spread")
    return {
        "value": _shown(row.get("run")),
        **{name: _shown(row.get(name)) for name in COMPARED_WITH},
        "spread": "" if spread is None else f"{spread:.4g}",
        "n": counted(record),
        "note": record.get("note", ""),
    }


def counted(record: Record) -> str:
    """How many of each kind a value is of."""
    return ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in record["counts"].items())


def _shown(record: Record | None) -> str:
    """Four digits and the interval."""
    if record is None:
        return ""
    interval = record.get("interval95")
    ends = f" [{', '.join(f'{end:.4g}' for end in interval)}]" if interval else ""
    return f"{record['value']:.4g}{ends}"


def lines(records: Iterable[Record], procedures: dict[str, str]) -> list[str]:
    """The rows for a terminal, columns aligned, below each protocol's procedure and extractor.

    Args:
        procedures: {protocol: its text}.
    """
    found: list[str] = []
    for head, group in groupby(rows(records), _head):
        table = [{"": leading(row)["metric"], **cells(row)} for row in group]
        columns = [name for name in table[0] if any(each[name] for each in table)]
        table.insert(0, {name: name for name in columns})
        widths = {name: max(len(each[name]) for each in table) for name in columns}
        protocol, about = head
        found += [f"# {protocol}: {procedures[protocol]}", *(f"# {line}" for line in about)]
        found += ["  ".join(each[name].ljust(widths[name]) for name in columns).rstrip() for each in table]
        found.append("")
    return found[:-1]


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
        f"extractor: {record['extractor']} ({record['extractor_hash']}), resize: {record['resize']};"
        f" reference: {record['reference']}",
    )
