"""The headline figures of a run as the `model-index` of a card's front matter (Hugging Face Hub)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from s2i.config import MISSING
from s2i.evaluation.captions import SAMPLING
from s2i.inference.front_matter import TAGS
from s2i.reports.rows import Record, counted, leading, rows
from s2i.tables import metric_label, number

# The rows of the README's tables: protocol, metric, and what it is of. The card has every other one.
HEADLINE = {
    ("retrieval_by_caption", "recall@1"): "retrieval",
    ("retrieval_by_caption", "mAP"): "retrieval",
    ("attribute_accuracy", "attribute_accuracy"): "generated images",
    ("class_retrieval_by_generated", "mAP"): "generated images",
    ("r_precision", "r_precision"): "generated images",
    ("classifier_distances", "kid"): "generated images",
}


def data_set_name(manifest: str) -> str:
    """A data set's name: the recipe that made its manifest, else the manifest's folder; "" without one."""
    if manifest == MISSING:
        return ""
    folders = Path(manifest).parts[:-1]
    recipes = [after for before, after in zip(folders, folders[1:], strict=False) if before == "recipes"]
    name = (recipes or folders[-1:] or ("",))[-1]
    return re.sub(r"[^\w.-]+", "_", name).strip("_.-")


def results(modality: str, dataset: str, records: Iterable[Record]) -> list[dict[str, Any]]:
    """The headline figures of one path, each with its protocol, interval and counts; none where nothing was
    measured. A split has one entry.

    Args:
        dataset: its name.
        records: lines of the run's metrics.jsonl; of the same figure the last one counts.
    """
    by_split: dict[str, list[dict[str, Any]]] = {}
    for row in rows(records):
        record = leading(row)
        what = HEADLINE.get((record["protocol"], record["metric"]))
        if what is None or record.get("of", "run") != "run":
            continue
        metric = {
            "type": record["metric"],
            "value": _rounded(record["value"], record["metric"]),
            "name": f"{metric_label(record['metric'])} of {what}, from {modality}",
            "args": {
                "protocol": record["protocol"],
                "n": counted(record),
                **{name: record[name] for name in SAMPLING if name in record},
            },
        }
        if record.get("interval95"):
            metric["args"]["interval95"] = [_rounded(end, record["metric"]) for end in record["interval95"]]
        by_split.setdefault(record.get("split", ""), []).append(metric)
    return [
        {
            "task": {"type": TAGS[modality], "name": f"Images from {modality}"},
            "dataset": {
                "type": dataset or "unknown",
                "name": dataset or "unknown",
                **({"split": split} if split else {}),
            },
            "metrics": metrics,
        }
        for split, metrics in by_split.items()
    ]


def _rounded(value: float, metric: str) -> float:
    """As a card's tables have it."""
    return float(number(value, metric=metric).text)
