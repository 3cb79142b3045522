"""An exported model in place of a run: what a training that stands on one finds in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s2i.config_files import config_to_dict
from s2i.errors import InputError
from s2i.runs.stored import IMAGE_NETWORK, NETWORKS, StoredPath, read_model


def is_exported(folder: str | Path) -> bool:
    """Whether a folder is an exported model's, not a run's."""
    return (Path(folder) / "config.json").is_file()


def read_exported_path(folder: str | Path, modality: str, key: str) -> StoredPath:
    """The path from one modality. Raises InputError where the model lacks it.

    `key`: the setting that names the folder, for messages.
    """
    paths = {path.source: path for path in read_model(Path(folder), modality)}
    if modality not in paths:
        raise InputError(
            f"expected a model with a path from {modality} as {key}, found one from {' and '.join(paths)} in"
            f" {folder}: give another, or another modality"
        )
    return paths[modality]


def as_checkpoint(path: StoredPath) -> dict[str, Any]:
    """An exported path as the checkpoint of a finished training has it, with the networks that are there:
    encoders, and the generator as its average."""
    nets = {name: path.weights[name] for name in NETWORKS if path.weights[name]}
    if "generator" in nets:
        nets["ema"] = nets.pop("generator")
    return {
        "config": config_to_dict(path.config),
        "vocabulary": path.vocabulary,
        "step": path.step,
        "nets": nets,
        "data": path.data,
        "trained_by": path.trained_by,
    }


def classes_of_model(folder: Path) -> list[str] | None:
    """The classes that any of a model's paths has seen in training; None where one doesn't say."""
    of_paths = [path.classes for path in read_model(folder)]
    if None in of_paths:
        return None
    return sorted({name for names in of_paths for name in names})


def refuse_unnamed_network(folder: str | Path, weights: str) -> None:
    """Raises InputError for a model with an image network of its own that the configuration doesn't name: a
    run that stands on the model would not know where it is.

    `weights`: the setting image_encoder.weights.
    """
    network = Path(folder) / IMAGE_NETWORK
    if network.is_file() and not weights:
        raise InputError(
            f"expected image_encoder.weights={network}, through which the encoders of {folder} look at"
            " images, found none: add it"
        )
