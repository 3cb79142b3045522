"""Parts that another package brings: a name in the configuration, `module:name`, and what it stands for."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any

from s2i.errors import InputError
from s2i.files.atomic import sha256_of


@cache
def find_outside(name: str, key: str) -> Any:
    """What `module:name` stands for; the module is imported as any other, from where Python looks.

    Args:
        name: as the configuration has it.
        key: of the configuration, to be named in an error.

    Raises:
        InputError: no such module, or nothing of that name in it.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute.isidentifier()):
        raise InputError(f"expected module:name for {key}, found {name!r}: name a class or function so")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"expected {name} for {key}, found: {error}: install its package, or put its folder on PYTHONPATH"
        ) from error


def source_of(name: str, key: str) -> str:
    """SHA-256 of the file in which a class or function stands; "" for one that stands in none.

    Args:
        name, key: as of `find_outside`, whose errors it raises.
    """
    definition = find_outside(name, key)
    file = getattr(sys.modules.get(getattr(definition, "__module__", "")), "__file__", None)
    try:
        return sha256_of(file) if file else ""
    except OSError:  # of a module in an archive
        return ""
