"""A configuration as plain containers, as checkpoints and exported models hold it, and back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from s2i.config import Config
from s2i.errors import InputError
from s2i.files.paths import expand_path
from s2i.settings import MISSING, declared, types


class NotPlain(Exception):
    """A value is not as `config_to_dict` writes it: OmegaConf has to say what it means, or what is wrong."""


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


def plain_config(values: dict[str, Any]) -> Config:
    """The configuration of what `config_to_dict` wrote; keys that it lacks have their defaults.

    Nothing is converted, but for whole numbers where the type is float, and nothing is held against its
    limits. Raises NotPlain for any other value, InputError for a path that can't be one.
    """
    return _section(Config, values, "")


@cache
def local_keys() -> tuple[str, ...]:
    """The dotted keys that hold a path of this machine."""
    return tuple(key for key, facts in declared(Config).items() if facts.local)


def expanded(key: str, word: str) -> str:
    """The path that a word is for a key, "~" at its beginning read as a home. Raises InputError where no file
    can have that name."""
    try:
        return expand_path(word)
    except ValueError as error:
        raise InputError(f"{error} for {key}: give one") from error


def _section(kind: type, values: Any, above: str) -> Any:
    """A section from its values; `above`: what its keys begin with."""
    names = {item.name: item.default_factory for item in fields(kind)}
    if type(values) is not dict or not set(values) <= set(names):
        raise NotPlain
    given = {}
    for name, value in values.items():
        hint = types(Config).get(above + name)
        if hint is None:  # a section of its own
            given[name] = _section(type(names[name]()), value, f"{above}{name}.")
        elif above + name in local_keys() and value:
            given[name] = expanded(above + name, _value(hint, value))
        else:
            given[name] = _value(hint, value)
    return kind(**given)


def _value(hint: Any, value: Any) -> Any:
    """A value that has its type already."""
    origin = get_origin(hint)
    if hint is float and type(value) in (float, int):
        return float(value)
    if hint in (int, bool) and type(value) is hint:
        return value
    if hint is str and type(value) is str and _is_literal(value):
        return value
    if origin is Literal and value in get_args(hint):
        return value
    if origin is dict and type(value) is dict and _is_literal(value):
        return _copied(value)
    if origin is tuple and type(value) in (list, tuple):
        inner = get_args(hint)
        if inner[-1] is not Ellipsis and len(inner) != len(value):
            raise NotPlain
        return tuple(_value(inner[0], each) for each in value)
    raise NotPlain


def _is_literal(value: Any) -> bool:
    """Whether a value means itself: OmegaConf reads ${...} in words, and ??? as none."""
    if isinstance(value, dict):
        return all(type(key) is str and _is_literal(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(_is_literal, value))
    if isinstance(value, str):
        return "${" not in value and value != MISSING
    return value is None or type(value) in (bool, int, float)


def _copied(value: Any) -> Any:
    """Containers of its own, so that nobody changes a checkpoint's."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value
