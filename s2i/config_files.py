"""Configurations from YAML, `key=value` words, checkpoints and exported models, and back.

A YAML file names only what it changes, of the defaults or of the files that it is based on
(`base: OTHER.yaml`); `key=value` words on the command line change it further; the run folder keeps the whole,
resolved. A key that does not exist is an error, with a suggestion. `~` at a path's
beginning is a home; an empty path is refused where one is needed.

OmegaConf is imported where YAML or words are read: an exported model needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from s2i.config import Config
from s2i.config_checks import check_together, check_values
from s2i.config_front_end import with_front_end
from s2i.config_plain import NotPlain, config_to_dict, local_keys, plain_config
from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.settings import MISSING, value_of

RETIRED = ("posterior_deviation", "posterior_surroundings")  # of section gan: settings that are no more


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file over its `base` and the defaults, then `key=value` overrides over all.

    Raises InputError for a missing file, a misspelt key, a value of the wrong type or out of its range.
    """
    from s2i.config_merge import merge
    from s2i.config_yaml import read_layers

    config = merge(read_layers(path), overrides, str(path))
    return replace(config, audio=with_front_end(config.audio))


def override(config: Config, overrides: Sequence[str], sections: Sequence[str] = ()) -> Config:
    """A configuration with `key=value` words put over it, keys of some sections alone where they are given.

    Raises InputError for another section's key, and as `load_config` does.
    """
    from s2i.config_merge import merge_plain

    for word in overrides:
        if sections and word.partition(".")[0] not in sections:
            expected = " or ".join(f"{section}.key=value" for section in sections)
            raise InputError(f"expected {expected}, found {word!r}: the rest belongs to the run")
    if overrides:
        config = merge_plain(config_to_dict(config), overrides, "the run's configuration")
    _refuse_empty(config)
    return config


def load_run_config(folder: str | Path) -> Config:
    """The configuration of a run, as it was begun; settings that have retired since then are dropped."""
    from omegaconf import OmegaConf

    from s2i.config_merge import merge
    from s2i.config_yaml import read_layers

    path = Path(folder) / "config.yaml"
    layers = [
        (origin, OmegaConf.create(_without_retired(OmegaConf.to_container(values))))
        for origin, values in read_layers(path)
    ]
    config = merge(layers, (), str(path))
    return replace(config, audio=with_front_end(config.audio))


def config_from_dict(values: dict[str, Any], origin: str) -> Config:
    """Config from plain containers, as a checkpoint or an exported model holds them.

    What has retired is dropped: it was read by trainings alone, and a model that it trained still generates.
    """
    values = _without_retired(values)
    try:
        config = plain_config(values)
    except NotPlain:
        from s2i.config_merge import merge_plain

        return merge_plain(values, (), origin)
    check_values(config, origin)
    check_together(config, origin)
    return config


def _without_retired(values: Any) -> Any:
    """Containers without settings that have retired; what is none, or has no section of them, as it is."""
    gan = values.get("gan") if isinstance(values, Mapping) else None
    if not isinstance(gan, Mapping) or not set(RETIRED) & set(gan):
        return values
    return {**values, "gan": {key: value for key, value in gan.items() if key not in RETIRED}}


def config_to_yaml(config: Config) -> str:
    """The whole configuration as YAML."""
    from s2i.config_merge import as_yaml

    return as_yaml(config_to_dict(config))


def save_config(config: Config, path: str | Path) -> None:
    """Write the resolved configuration as YAML: whole, or not at all."""
    with write_atomically(path) as stream:
        stream.write(config_to_yaml(config))


def require(config: Config, *keys: str) -> None:
    """Refuse a configuration in which one of the dotted keys was never given, or any path is left empty that
    has to be one: Python takes an empty path for the current folder."""
    _refuse_empty(config)
    for key in keys:
        if value_of(config, key) == MISSING:
            raise InputError(f"expected a value for {key}, found none: add {key}=... to the command")


def _refuse_empty(config: Config) -> None:
    for key in local_keys():
        if value_of(config, key) == "" and value_of(Config(), key) == MISSING:  # else "" says: none
            raise InputError(
                f"expected a path for {key}, found an empty one (is a variable unset?): give one"
            )
