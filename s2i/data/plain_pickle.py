"""Pickles that others left: plain containers are read, whatever would call something is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

from s2i.errors import InputError


class _PlainUnpickler(pickle.Unpickler):
    """Knows no class and no function, so nothing in a pickle can be called."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise InputError(f"a pickle that would call {module}.{name}")


def read_plain_pickle(path: str | Path) -> Any:
    """Lists, tuples, dicts, sets, numbers and words, from Python 2 or 3 (whose bytes are read as UTF-8).

    Raises InputError for a missing or broken file and for one that names a class or a function.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"expected a pickle, found no file at {path}: check the path")
    try:
        with path.open("rb") as stream:
            return _PlainUnpickler(stream, encoding="utf-8", errors="replace").load()
    except Exception as error:  # whatever a broken file makes of an unpickler
        problem = str(error) if isinstance(error, InputError) else "one that is broken or cut short"
        raise InputError(
            f"expected a pickle of plain containers in {path}, found {problem}: get it again from its authors"
        ) from error
