"""Pickles of lists, dictionaries, words and numbers; a pickle that names anything else is refused unread."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from s2i.errors import InputError


class _PlainUnpickler(pickle.Unpickler):
    """Whatever a pickle calls, it must look up here first."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"one that would call {module}.{name}")


def read_plain_pickle(path: str | Path) -> Any:
    """What a pickle of plain containers holds; Python 2's byte strings come as text.

    Raises InputError for a missing or broken file, and for a pickle that would call or make anything else.
    """
    try:
        content = Path(path).read_bytes()
        return _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # broken pickles raise nearly everything
        raise InputError(
            f"expected a pickle of plain lists and words, found {error or type(error).__name__} in {path}:"
            " fetch it from its source again"
        ) from error
