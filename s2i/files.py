"""Files that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from s2i.errors import InputError
from s2i.parts import part_file, umask


@contextmanager
def write_atomically(path: str | Path, mode: str = "w", to_disk: bool = True) -> Iterator[IO]:
    """Open a part beside `path` (`s2i.parts`); flush and rename it onto `path` when the block ends well.

    The folder is made where it is missing. Raises InputError where the disk refuses.

    Args:
        to_disk: wait until the bytes are on the disk, so that a power cut can't leave an empty file.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoding = None if "b" in mode else "utf-8"
        with part_file(path) as (handle, part), os.fdopen(handle, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            if to_disk:
                os.fsync(handle)
            os.fchmod(handle, 0o666 & ~umask())
            os.replace(part, path)
    except OSError as error:
        raise InputError(f"expected to write {path}, found: {error.strerror or error}: mend it") from error


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
