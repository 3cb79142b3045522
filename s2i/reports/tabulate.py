"""Ablation studies: many runs compared with the first of them, in one table and one chart.

    table.md       a row a run, with what it changes, intervals, and what was published beside it
    results.json   the same numbers, with the protocols that made them
    chart.svg      each run's difference from the first
    measured/      what was measured of each run, so that it is done once

Differences are over the same captions and noise, with a t interval over classes: it holds the variance
of classes, not of seeds. Further seeds of the base, given as runs of their own, show that one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2i.config_files import load_run_config
from s2i.errors import InputError
from s2i.evaluation.captions import sampling_note
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.metric_networks import CLASSIFIER
from s2i.evaluation.protocols.registry import PROTOCOLS
from s2i.evaluation.score import Score
from s2i.files.atomic import read_json
from s2i.files.output_folder import OutputFolder
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.metrics.statistics import paired_difference
from s2i.progress import say
from s2i.reports.charts import Spread, spread_chart
from s2i.reports.measured import measured_once
from s2i.runs.checkpoint import random_state_kept
from s2i.runs.run import CHANGEABLE, PLACES, Run, check_run, config_changes
from s2i.tables import markdown, number

COLUMNS = {  # of the table: protocol, metric, and whether more is better
    "attribute accuracy": ("attribute_accuracy", "attribute_accuracy", True),
    "mAP of generated images": ("class_retrieval_by_generated", "mAP", True),
    "classifier KID": ("classifier_distances", "kid", False),
    "mAP of retrieval": ("retrieval_by_caption", "mAP", True),
}
LEADING = (
    "attribute accuracy"  # what the difference and the chart are of; where absent, the next that is there
)

_STANDS_ON = {  # runs that a training stands on, in words: without one, and with one
    "gan.matching_model": ("the encoders", "another"),
    "start_from": ("initial weights", "an earlier run or model"),
}


@dataclass(frozen=True)
class Measured:
    """One row: a run, or one modality of a run that has both.

    `values`: {column: its number}; `intervals`: 95 %; `by_caption`: {column: (value, class, weight) a
    caption}, where the number is their weighted mean; `changes`: {setting: (of the base, of this run)}.
    """

    name: str
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    by_caption: dict[str, np.ndarray]
    changes: dict[str, tuple[Any, Any]]
    seconds: float
    step: int


def tabulate(runs: Sequence[str | Path], output: str | Path, published: str | Path | None = None) -> Path:
    """Measure `runs`, hold each against the first, and write the table; returns table.md.

    Args:
        runs: GAN runs over one data set; the first is the base.
        output: folder; what an earlier call measured of an unchanged run is used again.
        published: JSON {name of a run: {"than", "found", "numbers", "source"}}, to stand beside it.

    Raises:
        InputError: fewer than two runs, two of one name, a folder that holds anything else, or what `load`,
            `FeatureBank` and the protocols refuse.
    """
    folders, written = [Path(run) for run in runs], OutputFolder(output, "s2i tabulate")
    names = _names(folders)
    for folder in folders:
        check_run(folder)
    known = _read_published(published)
    rows: list[Measured] = []
    protocols: set[str] = set()
    base: FeatureBank | None = None
    with random_state_kept(), written.held():
        for name, folder in zip(names, folders, strict=True):
            for modality, path in load(folder).image_paths().items():
                row = name if not path.config.gan.other_encoder else f"{name}, from {modality}"
                bank = FeatureBank(path, load_run_config(folders[0]).evaluation)
                base = base or bank
                if bank.pack.fingerprint != base.pack.fingerprint:
                    raise InputError(
                        f"expected runs over the data of {folders[0]}, found other data in"
                        f" {bank.pack.folder} ({folder}): tabulate runs of one pack"
                    )
                measured = _measured(bank, folder, written, f"measured/{row}.json")
                protocols |= {COLUMNS[column][0] for column in measured["values"]}
                rows.append(_row(row, measured, folder, folders[0], path))
                say(f"{row}: " + ", ".join(f"{k} {v:.3f}" for k, v in measured["values"].items()))
    differences = {row.name: difference for row in rows[1:] if (difference := _difference(row, rows[0]))}
    results = {
        "base": rows[0].name,
        "split": base.settings.split,
        "generated_captions": len(base.captions.generated),
        **base.captions.sampling_facts(),
        "protocols": {name: PROTOCOLS[name].procedure for name in sorted(protocols)},
        "difference_of": _leading(rows[0]),
        "rows": [_plain(row, differences.get(row.name)) for row in rows],
        "published": {name: known[name] for name in known if name in {row.name for row in rows}},
    }
    files = {
        "results.json": json.dumps(results, indent=2, ensure_ascii=False) + "\n",
        "chart.svg": _chart(rows, differences),
        "table.md": _table(rows, differences, known, results),
    }
    with written.held():
        for name, text in files.items():
            table = written.write(name, text)
    return table


def _names(folders: list[Path]) -> list[str]:
    """What tells the runs apart: their folders' names without what all begin with, up to a hyphen."""
    if len(folders) < 2:
        raise InputError("expected a base and at least one other run, found one: name more runs")
    names = [folder.absolute().name for folder in folders]
    if len(set(names)) < len(names):
        raise InputError(f"expected runs of different names, found {', '.join(names)}: leave one out")
    words = [name.split("-") for name in names]
    shared = 0
    while all(len(word) > shared + 1 and word[shared] == words[0][shared] for word in words):
        shared += 1
    return ["-".join(word[shared:]) for word in words]


def _read_published(path: str | Path | None) -> dict[str, dict[str, str]]:
    if path is None:
        return {}
    known = read_json(path, "published orderings", "mend --published")
    try:
        return {
            name: {key: entry[key] for key in ("than", "found", "numbers", "source")}
            for name, entry in known.items()
        }
    except (KeyError, TypeError) as error:
        raise InputError(
            "expected JSON {run: {than, found, numbers, source}} as --published, found"
            f" {type(error).__name__} {error} in {path}: mend it"
        ) from error


def _measured(bank: FeatureBank, run: Path, written: OutputFolder, kept: str) -> dict[str, Any]:
    """Values, intervals and parts, {column: ...} each."""

    def summarise(scores: dict[str, list[Score]]) -> dict[str, Any]:
        measured: dict[str, Any] = {"values": {}, "intervals": {}, "parts": {}}
        for column, (protocol, metric, _) in COLUMNS.items():
            for score in scores[protocol]:
                if score.metric != metric or score.of != "run":
                    continue
                measured["values"][column] = score.value
                if score.interval95:
                    measured["intervals"][column] = list(score.interval95)
                if score.values is not None:
                    weights = np.ones_like(score.values) if score.weights is None else score.weights
                    by_caption = np.stack([score.values, score.clusters, weights], 1)
                    measured["parts"][column] = by_caption.tolist()
        return measured

    protocols = [protocol for protocol, _, _ in COLUMNS.values()]
    return measured_once(bank, run, written, kept, protocols, (CLASSIFIER,), summarise)


def _row(name: str, measured: dict[str, Any], folder: Path, base: Path, path: GenerationPath) -> Measured:
    log = Run(folder).read_log()
    return Measured(
        name,
        measured["values"],
        {column: tuple(ends) for column, ends in measured["intervals"].items()},
        {column: np.array(rows) for column, rows in measured["parts"].items()},
        _changes(base, folder),
        log[-1]["seconds"] if log else 0.0,
        path.step,
    )


def _changes(base: Path, folder: Path) -> dict[str, tuple[Any, Any]]:
    """Settings of the run, and of the training of its encoder, that aren't the base's."""
    ours, theirs = load_run_config(folder), load_run_config(base)
    differing = config_changes(theirs, ours)
    started = differing.get("start_from")
    encoders = [Path(config.gan.encoder) for config in (theirs, ours)]
    if ours.modality == theirs.modality and all((run / "config.yaml").is_file() for run in encoders):
        differing |= config_changes(*map(load_run_config, encoders), "encoder")
    changes = {key: change for key, change in differing.items() if key not in PLACES | CHANGEABLE}
    if ours.gan.other_encoder and not theirs.gan.other_encoder:
        changes["modality"] = (theirs.modality, "both in turn")
    differing |= {"start_from": started} if started else {}  # the generator's own, not its encoder's
    for key, (without, with_one) in _STANDS_ON.items():  # where it lies is no change, that there is one is
        has_one = [bool(run) for run in differing.get(key, ("", ""))]
        if has_one[0] != has_one[1]:
            changes[key] = tuple(with_one if has else without for has in has_one)
    return changes


def _leading(row: Measured) -> str:
    """The first column that has a value a caption."""
    return next((column for column in (LEADING, *COLUMNS) if column in row.by_caption), "")


def _difference(row: Measured, base: Measured) -> dict[str, Any] | None:
    """This run minus the base, caption by caption."""
    column = _leading(base)
    if column not in row.by_caption:
        return None
    ours, theirs = row.by_caption[column], base.by_caption[column]
    if ours.shape != theirs.shape or not np.array_equal(ours[:, 1:], theirs[:, 1:]):
        return None  # other captions: a text run that lacks some
    estimate = paired_difference(ours[:, 0], theirs[:, 0], ours[:, 1], ours[:, 2])
    return {"value": estimate.value, "interval95": list(estimate.interval95 or ()), "captions": estimate.n}


def _plain(row: Measured, difference: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "name": row.name,
        "changes": {key: list(change) for key, change in row.changes.items()},
        "values": row.values,
        "intervals95": {column: list(ends) for column, ends in row.intervals.items()},
        "difference": difference,
        "steps": row.step,
        "seconds": row.seconds,
    }


def _chart(rows: list[Measured], differences: dict[str, dict[str, Any]]) -> str:
    spreads = [
        Spread(row.name, difference["value"], tuple(difference["interval95"]) or None, _is_seed(row))
        for row in rows[1:]
        if (difference := differences.get(row.name))
    ]
    return spread_chart(f"{_leading(rows[0])}: difference from {rows[0].name}", spreads)


def _is_seed(row: Measured) -> bool:
    return set(row.changes) == {"seed"}


def _table(
    rows: list[Measured],
    differences: dict[str, dict[str, Any]],
    known: dict[str, dict[str, str]],
    results: dict[str, Any],
) -> str:
    columns = [column for column in COLUMNS if any(column in row.values for row in rows)]
    leading = results["difference_of"]
    metric, minus = COLUMNS[leading][1] if leading else "", f"{leading}, minus the base"
    head = ["setting", "changes", *columns, minus, "steps", "s", "published", "here"]
    lines = []
    by_name = {row.name: row for row in rows}
    for row in rows:
        changed = ", ".join(f"`{key}` {_shown(new)}" for key, (_, new) in row.changes.items())
        difference = differences.get(row.name)
        entry = known.get(row.name)
        literature, here = "", ""
        if entry:
            literature = f"{entry['found']} than {entry['than']}: {entry['numbers']}"
            here = _here(row, by_name.get(entry["than"]), leading)
        lines.append(
            {
                "setting": row.name,
                "changes": changed,
                **{
                    column: number(row.values.get(column), row.intervals.get(column), COLUMNS[column][1])
                    for column in columns
                },
                minus: number(difference["value"], difference["interval95"], metric, signed=True)
                if difference
                else "",
                "steps": f"{row.step:,}",
                "s": f"{row.seconds:.0f}",
                "published": literature,
                "here": here,
            }
        )
    seeds = [row.values[leading] for row in rows if row is rows[0] or _is_seed(row)] if leading else []
    notes = [
        f"{results['generated_captions']:,} captions of the split `{results['split']}` generated; in"
        f" brackets 95 %"
        f" t intervals over classes, differences over the same captions and noise.{sampling_note(results)}",
    ]
    if len(seeds) > 1:
        notes.append(
            f"The base with {len(seeds)} seeds: {leading} {number(min(seeds), metric=metric)} to"
            f" {number(max(seeds), metric=metric)}. A difference"
            " that is no larger than that may be the variance of seeds."
        )
    sources = [f"- {name}: {entry['source']}" for name, entry in known.items() if name in by_name]
    if sources:
        notes += ["Published orderings, of other data and measures, as context:", *sources]
    return "\n".join([*markdown(head, lines), "", *notes]) + "\n"


def _here(row: Measured, other: Measured | None, leading: str) -> str:
    """The ordering found here, in the words of the published one."""
    if other is None:
        return ""
    difference = _difference(row, other)
    if not difference or not difference["interval95"]:
        return ""
    low, high = difference["interval95"]
    ordering = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    shown = number(difference["value"], difference["interval95"], COLUMNS[leading][1], signed=True)
    return f"{ordering} ({shown})"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
