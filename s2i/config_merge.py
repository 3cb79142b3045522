"""Layers of a configuration put over each other by OmegaConf: YAML, plain containers, `key=value` words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from s2i.config import Config
from s2i.config_checks import check_text, check_together, check_values
from s2i.config_plain import expanded, local_keys
from s2i.config_yaml import Layer
from s2i.errors import InputError
from s2i.settings import MISSING, types


def merge_plain(values: dict[str, Any], overrides: Sequence[str], origin: str) -> Config:
    """A configuration from the defaults, plain containers and the overrides, each over what is before it."""
    return merge([(origin, OmegaConf.create(values))], overrides, origin)


def as_yaml(values: dict[str, Any]) -> str:
    """Plain containers as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(values))


def merge(layers: Sequence[Layer], overrides: Sequence[str], origin: str) -> Config:
    """A configuration from the defaults, the layers and the overrides, each over what is before it.

    `origin`: of the result, for errors; of the overrides too, since their keys are those of its file.
    """
    for word in overrides:
        if "=" not in word:
            raise InputError(f"expected key=value on the command line, found {word!r}")
        key, _, value = word.partition("=")
        check_text(key, value, "the command line")
    merged = deepcopy(_schema())
    for source, values in layers:
        _merge_layer(merged, source, lambda values=values: values)
    if overrides:
        words = [_as_yaml(word) for word in overrides]
        _merge_layer(merged, origin, lambda: OmegaConf.from_dotlist(words))
    config = _freeze(Config, merged)
    check_values(config, origin)
    check_together(config, origin)
    return config


def _merge_layer(merged: Any, origin: str, read: Callable[[], Any]) -> None:
    """Put the values that `read` returns, which nobody else uses, over what is merged so far."""
    values = OmegaConf.create()
    try:
        values = read()
        OmegaConf.unsafe_merge(merged, values)  # without a copy of both, which takes most of a merge's time
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
        try:
            values = OmegaConf.select(given, key) if OmegaConf.is_dict(given) else None
        except OmegaConfBaseException:  # a list where its section should be
            continue
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
    """Config as OmegaConf reads it; a merge changes a copy."""
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
        elif key in local_keys() and value:
            values[item.name] = expanded(key, value)
        else:
            values[item.name] = tuple(value) if OmegaConf.is_config(value) else value
    return kind(**values)
