"""Configurations from YAML, `key=value` words, checkpoints and exported models, and back.

A YAML file names only what it changes, of the defaults or of the files that it is based on
(`base: OTHER.yaml`); `key=value` words on the command line change it further; the run folder keeps the whole,
resolved. A key that does not exist is an error, with a suggestion. `~` at a path's
beginning is a home; an empty path is refused where one is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from s2i.config import Config
from s2i.config_checks import check_text, check_together, check_values
from s2i.config_front_end import with_front_end
from s2i.config_yaml import Layer, read_layers
from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.paths import expand_path
from s2i.settings import declared, types, value_of


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file over its `base` and the defaults, then `key=value` overrides over all.

    Raises InputError for a missing file, a misspelt key, a value of the wrong type or out of its range.
    """
    config = _merge(read_layers(path), overrides, str(path))
    return replace(config, audio=with_front_end(config.audio))


def override(config: Config, overrides: Sequence[str], sections: Sequence[str] = ()) -> Config:
    """A configuration with `key=value` words put over it, keys of some sections alone where they are given.

    Raises InputError for another section's key, and as `load_config` does.
    """
    for word in overrides:
        if sections and word.partition(".")[0] not in sections:
            expected = " or ".join(f"{section}.key=value" for section in sections)
            raise InputError(f"expected {expected}, found {word!r}: the rest belongs to the run")
    origin = "the run's configuration"
    changed = _merge([(origin, OmegaConf.create(config_to_dict(config)))], overrides, origin)
    _refuse_empty(changed)
    return changed


def config_from_dict(values: dict[str, Any], origin: str) -> Config:
    """Config from plain containers, as a checkpoint or an exported model holds them."""
    return _merge([(origin, OmegaConf.create(values))], (), origin)


def config_to_dict(config: Any) -> dict[str, Any]:
    """Plain containers, without the values that were never given."""
    values = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            values[item.name] = config_to_dict(value)
        elif value != MISSING:
            values[item.name] = list(value) if isinstance(value, tuple) else value
    return values


def config_to_yaml(config: Config) -> str:
    """The whole configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(config_to_dict(config)))


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
    for key in _local_keys():
        if value_of(config, key) == "" and value_of(Config(), key) == MISSING:  # else "" says: none
            raise InputError(
                f"expected a path for {key}, found an empty one (is a variable unset?): give one"
            )


def _merge(layers: Sequence[Layer], overrides: Sequence[str], origin: str) -> Config:
    """A configuration from the defaults, the layers and the overrides, each over what is before it.

    `origin`: of the result, for errors; of the overrides too, since their keys are those of its file.
    """
    for word in overrides:
        if "=" not in word:
            raise InputError(f"expected key=value on the command line, found {word!r}")
        key, _, value = word.partition("=")
        check_text(key, value, "the command line")
    merged = _schema()
    for source, values in layers:
        merged = _merge_layer(merged, source, lambda values=values: values)
    words = [_as_yaml(word) for word in overrides]
    merged = _merge_layer(merged, origin, lambda: OmegaConf.from_dotlist(words))
    config = _freeze(Config, merged)
    check_values(config, origin)
    check_together(config, origin)
    return config


def _merge_layer(merged: Any, origin: str, read: Callable[[], Any]) -> Any:
    """What is merged so far, with the values that `read` returns over it."""
    values = OmegaConf.create()
    try:
        values = read()
        return OmegaConf.merge(merged, values)
    except OmegaConfBaseException as error:
        reason, key = str(error).partition("\n")[0], getattr(error, "full_key", None)
        if not key:  # of a member of a list OmegaConf tells neither key nor value
            reason, key = _bad_list(values) or (reason, "?")
        raise InputError(f"{origin}: {reason} (key {key})") from error
    except (YAMLError, TypeError, ValueError) as error:  # of a value that is no YAML, a list in place of keys
        raise InputError(f"expected key: value in {origin}, found: {' '.join(str(error).split())}") from error


def _bad_list(given: Any) -> tuple[str, str] | None:
    """What is wrong with the first list of numbers that has something else in it, and its key."""
    for key in (key for key, kind in types(Config).items() if get_origin(kind) is tuple):
        whole = get_args(types(Config)[key])[0] is int
        values = OmegaConf.select(given, key) if OmegaConf.is_dict(given) else None
        for value in values if OmegaConf.is_list(values) else ():
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                return f"expected a list of {'whole ' * whole}numbers, found {value!r} in it", key
    return None


def _as_yaml(word: str) -> str:
    """A `key=value` word for OmegaConf, which reads values as YAML: text, such as a path that has a "#" or
    is all digits, is meant letter by letter."""
    key, _, value = word.partition("=")
    is_text = types(Config).get(key) is str
    return f"{key}={json.dumps(value, ensure_ascii=False)}" if is_text else word


@cache
def _schema() -> Any:
    """Config as OmegaConf reads it; a merge copies it."""
    return OmegaConf.structured(Config)


def _freeze(kind: type, node: Any, above: str = "") -> Any:
    """A frozen dataclass from a merged node, its keys after `above`; a value never given stays MISSING."""
    values = {}
    for item in fields(kind):
        key = above + item.name
        if OmegaConf.is_missing(node, item.name):
            values[item.name] = MISSING
            continue
        value = node[item.name]
        if OmegaConf.is_config(value) and is_dataclass(OmegaConf.get_type(value)):
            values[item.name] = _freeze(OmegaConf.get_type(value), value, f"{key}.")
        elif OmegaConf.is_dict(value):
            values[item.name] = OmegaConf.to_container(value)
        elif key in _local_keys() and value:
            values[item.name] = _expanded(key, value)
        else:
            values[item.name] = tuple(value) if OmegaConf.is_config(value) else value
    return kind(**values)


@cache
def _local_keys() -> tuple[str, ...]:
    return tuple(key for key, facts in declared(Config).items() if facts.local)


def _expanded(key: str, word: str) -> str:
    try:
        return expand_path(word)
    except ValueError as error:
        raise InputError(f"{error} for {key}: give one") from error
