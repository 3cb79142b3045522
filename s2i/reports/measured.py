"""What a table measures of its runs, kept in its folder, so that it is done once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from s2i.config_files import config_to_dict
from s2i.errors import InputError
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.feature_extraction import VERSION
from s2i.evaluation.records import measure
from s2i.evaluation.score import Score
from s2i.files.atomic import read_json
from s2i.files.output_folder import OutputFolder
from s2i.metrics.statistics import FORM
from s2i.runs.checkpoint import LAST

# Settings of `evaluation` that change no number, or whose networks are known by their weights.
LEFT_OUT = ("classifier", "r_precision_encoder", "speech_classifier", "batch_size", "processes", "cache")


def measured_once(
    bank: FeatureBank,
    run: Path,
    written: OutputFolder,
    kept: str,
    protocols: Sequence[str],
    extractors: Sequence[str],
    summarise: Callable[[dict[str, list[Score]]], dict[str, Any]],
) -> dict[str, Any]:
    """What `summarise` makes of the scores {protocol: its scores}; out of the file `kept` of the folder
    `written`, where that is of these weights, captions, protocols and scoring networks.

    Args:
        run: the folder of the GAN run.
        extractors: names of the networks that score.
    """
    scoring = {name: bank.extractor(name) for name in extractors}
    made_from = {
        "version": VERSION,
        "checkpoint": checkpoint_of(run),
        "modality": bank.path.config.modality,
        "evaluation": config_to_dict(bank.settings) | dict.fromkeys(LEFT_OUT),
        "pack": bank.pack.fingerprint,
        "extractors": {name: extractor and extractor.identity for name, extractor in scoring.items()},
        "intervals": FORM,
        "protocols": list(protocols),
    }
    return kept_or_made(written, kept, made_from, lambda: summarise(measure(bank, list(protocols))))


def checkpoint_of(run: Path) -> list[int]:
    """Size and time of a run's last checkpoint, by which a later one is known."""
    checkpoint = (run / "checkpoints" / LAST).stat()
    return [checkpoint.st_size, checkpoint.st_mtime_ns]


def kept_or_made(
    written: OutputFolder, kept: str, made_from: dict[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What `make` gives; out of the file `kept` of `written`, where that was made from the same."""
    if written.owns(kept):
        try:
            measured = read_json(written.path / kept, "what was measured", "delete it")
        except InputError:  # cut short: measured again
            measured = {}
        if measured.get("made_from") == made_from:
            return measured["values"]
    values = make()
    written.write(kept, json.dumps({"made_from": made_from, "values": values}))
    return values
