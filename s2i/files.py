"""Files that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from s2i.errors import InputError


@contextmanager
def write_atomically(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside `path`; flush and rename it onto `path` when the block ends well.

    The folder is made where it is missing. Raises InputError where the disk refuses.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise InputError(f"expected to write {path}, found: {error.strerror or error}: mend it") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def json_line(values: dict[str, Any]) -> str:
    """A line of JSON Lines."""
    return json.dumps(values, ensure_ascii=False) + "\n"


def append_json(path: str | Path, values: dict[str, Any]) -> None:
    """Add a line to a file of JSON Lines; what a kill has left of the last one goes.

    File and folder are made where they are missing. Raises InputError where the disk refuses.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                if stream.read() != b"\n":
                    stream.truncate(path.read_bytes().rfind(b"\n") + 1)
            stream.write(json_line(values).encode("utf-8"))
    except OSError as error:
        raise InputError(
            f"expected to write {path}, found: {error.strerror or error}: free or change it"
        ) from error


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while part := stream.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
