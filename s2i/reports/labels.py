"""Names of metrics as the field writes them, and values with their intervals, as text."""

from __future__ import annotations

from collections.abc import Sequence

LABELS = {
    "fid": "FID",
    "kid": "KID",
    "inception_score": "Inception Score",
    "precision": "Precision",
    "recall": "Recall",
    "r_precision": "R-precision",
    "mAP": "mAP",
    **{f"recall@{k}": f"Recall@{k}" for k in (1, 5, 10)},
}


def metric_label(metric: str) -> str:
    """A metric's name for people; "attribute_accuracy/wing" is "Attribute accuracy: wing"."""
    name, _, part = metric.partition("/")
    label = LABELS.get(name) or name.replace("_", " ").capitalize()
    return f"{label}: {part.replace('_', ' ')}" if part else label


def with_interval(
    value: float | None, interval95: Sequence[float] | None, signed: bool = False, digits: int = 3
) -> str:
    """A value and its interval in brackets; "" without a value."""
    if value is None:
        return ""
    form = f"{{:{'+' if signed else ''}.{digits}f}}"
    return form.format(value) + (
        f" [{', '.join(form.format(end) for end in interval95)}]" if interval95 else ""
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
