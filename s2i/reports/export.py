"""The `export` command: trained runs -> one model folder whose card has their data, commands and metrics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from s2i.errors import InputError
from s2i.inference.front_matter import UNKNOWN, front_matter
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.inference.save import write_model
from s2i.inference.speech_path import SpeechPath
from s2i.inference.training_domain import training_domain
from s2i.inference.training_images import training_images
from s2i.reports.model_card import describe_run
from s2i.reports.model_index import data_set_name, results
from s2i.runs.earlier_runs import with_earlier_runs
from s2i.runs.exported import is_exported
from s2i.runs.run import Run
from s2i.runs.stored import IMAGE


def export(runs: Sequence[str | Path], folder: str | Path, *, bits: int = 32, license: str = UNKNOWN) -> None:
    """Write the paths of each run into one model folder, whole or not at all.

    Args:
        runs: that generate, one a modality, or speech from images; their EMA generator is exported.
        folder: made, or replaced where it is an exported model.
        bits: of a stored weight, 32, 16 or 8 (`s2i.runs.stored_weights`); read back into float32.
        license: of the weights, by the name that the Hugging Face Hub has for it.

    Raises:
        InputError: a run can't be read, two have one modality, `folder` is something else; other bits.
    """
    origins: dict[str, tuple[Path, GenerationPath | SpeechPath]] = {}
    for run in map(Path, runs):
        if os.path.realpath(run) == os.path.realpath(folder):
            raise InputError(f"expected another folder to write than {run}, which is read: name another")
        model = load(run, "cpu")
        speech = {} if model.from_image is None else {IMAGE: model.from_image}
        for source, path in (model.paths | speech).items():
            if source in origins:
                raise InputError(
                    f"expected one run from {source}, found two:"
                    f" {origins[source][0]} and {run}: leave one out"
                )
            if isinstance(path, GenerationPath):
                path = replace(path, training_images=training_images(path), classes=_seen_classes(run, path))
            if source == "speech":
                path = replace(path, domain=training_domain(path))
            origins[source] = run, path
    if not origins:
        raise InputError("expected at least one run to export, found none: name a run of s2i train-gan")
    sections = [line for source, origin in origins.items() for line in describe_run(source, *origin)]
    paths = {source: path for source, (_, path) in origins.items()}
    front = _front_matter(Path(os.path.abspath(folder)).name, origins, license)
    write_model(folder, paths, "s2i export", front, sections, bits=bits)


def _seen_classes(run: Path, path: GenerationPath) -> tuple[str, ...] | None:
    """The classes that a run, and all that it stands on, saw in training; None where that isn't known. An
    exported model says it."""
    if is_exported(run):
        return path.classes
    try:
        seen = {name for each in with_earlier_runs(run) for _, names in each.seen_classes() for name in names}
    except InputError:
        return None
    return tuple(sorted(seen))


def _front_matter(
    name: str, origins: dict[str, tuple[Path, GenerationPath | SpeechPath]], license: str
) -> list[str]:
    """Lines for the top of a card, with the headline figures of each run."""
    names = {source: data_set_name(path.config.data.manifest) for source, (_, path) in origins.items()}
    measured = [
        result
        for source, (run, _) in origins.items()
        for result in results(source, names[source], Run(run).read_metrics())
    ]
    return front_matter(origins, license, list(dict.fromkeys(filter(None, names.values()))), name, measured)
