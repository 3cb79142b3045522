"""YAML files of a configuration, each with the files that it is based on (`base: OTHER.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from s2i.errors import InputError

Layer = tuple[str, Any]  # where values come from, and the values


def read_layers(path: str | Path) -> list[Layer]:
    """The values of a YAML file after those of the files it is based on: what comes later counts.

    `base` is a path, relative to the file that has it, or a list of paths, the last of which counts most.
    Raises InputError for a missing file, for what is no YAML, and for a file that is based on itself.
    """
    return _read(Path(path), [])


def _read(path: Path, derived: list[Path]) -> list[Layer]:
    """`derived`: the files that lead here by their `base`, the outermost first."""
    if path.resolve() in (file.resolve() for file in derived):
        chain = " -> ".join(map(str, [*derived, path]))
        raise InputError(f"expected files that are not based on themselves, found {chain}: change base")
    if not path.is_file():
        remedy = f"check base in {derived[-1]}" if derived else "check --config"
        raise InputError(f"expected a configuration file, found none at {path}: {remedy}")
    try:
        values = OmegaConf.load(path)
    except Exception as error:  # the YAML parser has a family of its own
        raise InputError(f"expected YAML in {path}, found: {' '.join(str(error).split())}") from error
    layers = []
    if OmegaConf.is_dict(values) and "base" in values:
        for base in _names(OmegaConf.to_container(values)["base"], path):
            layers += _read(path.parent / base, [*derived, path])
        del values["base"]
    return [*layers, (str(path), values)]


def _names(base: Any, path: Path) -> list[str]:
    names = base if isinstance(base, list) else [base]
    if not all(isinstance(name, str) and name for name in names):
        raise InputError(f"expected a path or a list of paths as base in {path}, found {base!r}: change it")
    return names
