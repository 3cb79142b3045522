"""The benchmark's results, as JSON and as one table."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.suite.machine import Machine
from tests.benchmarks.suite.timing import OURS, PLAIN, Timed

HEAD = ("part", "what", "size", "precision", "s2i, ms", "plain, ms", "plain over s2i", "other forms", "limit")


def entry(timed: Timed, machine: Machine) -> dict[str, Any]:
    """A row as JSON: milliseconds of the processor, medians; ratios with their quartiles; the limit over what
    was measured, None where nothing was counted."""
    row = timed.row
    limit = machine.limit(row.operations, row.bytes, row.precision)
    return {
        "part": row.part,
        "name": row.name,
        "size": row.size,
        "precision": row.precision,
        "rounds": len(timed.seconds[OURS]),
        "milliseconds": {form: _digits(1e3 * timed.median(form)) for form in row.forms},
        "ratio": {
            form: dict(zip(("median", "lower", "upper"), map(_digits, timed.ratio(form)), strict=True))
            for form in row.forms
            if form != OURS
        },
        "operations": row.operations,
        "bytes": row.bytes,
        "share_of_limit": _digits(limit / timed.median()) if limit else None,
    }


def markdown(entries: list[dict[str, Any]], machine: Machine) -> str:
    """The table, with the machine above it."""
    able = ", ".join(
        f"{each / 1e9:.0f} G operations/s in {precision}" for precision, each in machine.operations.items()
    )
    lines = [
        f"{machine.processor}, {machine.threads} thread{'s' * (machine.threads > 1)}, torch {machine.torch}:"
        f" a matrix product does {able} a thread, a copy {machine.bytes / 1e9:.1f} GB/s. Milliseconds of the"
        " processor, all threads together; ratios are medians over rounds, with quartiles.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{'---|' * len(HEAD)}",
    ]
    for each in entries:
        ratio, times = each["ratio"], each["milliseconds"]
        others = "; ".join(
            f"{form}: {_ratio(quartiles)}" for form, quartiles in ratio.items() if form not in (OURS, PLAIN)
        )
        share = each["share_of_limit"]
        cells = [each[key] for key in ("part", "name", "size", "precision")]
        cells += [f"{times[OURS]:.4g}", f"{times[PLAIN]:.4g}" if PLAIN in times else ""]
        cells += [_ratio(ratio[PLAIN]) if PLAIN in ratio else "", others]
        cells.append("" if share is None else f"{100 * share:.0f} %")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ratio(quartiles: dict[str, float]) -> str:
    return f"{quartiles['median']:.2f} [{quartiles['lower']:.2f}, {quartiles['upper']:.2f}]"


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
