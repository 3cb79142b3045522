"""Files that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from s2i.errors import InputError
from s2i.files.unfinished import part_file, umask


@contextmanager
def write_atomically(path: str | Path, mode: str = "w", to_disk: bool = True) -> Iterator[IO]:
    """Open a part beside `path` (`s2i.files.unfinished`); flush and rename it onto `path` when the block ends
    well.

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
        raise InputError(
            f"expected to write {path}, found: {error.strerror or error}: check path and disk"
        ) from error
    except UnicodeEncodeError as error:
        excerpt = error.object[max(0, error.start - 30) : error.start + 10]
        raise InputError(
            f"expected text and names in UTF-8 for {path}, found {excerpt!r}: mend the text or rename the"
            " file"
        ) from error


def read_text(path: str | Path, what: str, remedy: str) -> str:
    """A file's text. Raises InputError for one that can't be read or isn't UTF-8.

    Args:
        what: that is expected there, for the error, such as "sentences".
        remedy: what to do where it isn't.
    """
    try:
        return _read_bytes(path, what, remedy).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"expected {what} in {path}, found no UTF-8 at byte {error.start}: {remedy}"
        ) from error


def read_json(path: str | Path, what: str, remedy: str, kind: type = dict) -> Any:
    """The value in a file of JSON, an object unless `kind` is another type.

    Raises InputError for one that can't be read, is cut short or holds something else; arguments as
    `read_text`.
    """
    text = read_text(path, what, remedy)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputError(f"expected {what} in {path}, found no whole JSON ({error}): {remedy}") from error
    if not isinstance(content, kind):
        raise InputError(f"expected {what} in {path}, found {text.strip()[:40]!r}: {remedy}")
    return content


def read_json_lines(path: str | Path, what: str, remedy: str) -> list[dict[str, Any]]:
    """The objects in a file of JSON Lines; a last line that a kill cut short is left out.

    Raises InputError for any other line that is no object; arguments as `read_text`.
    """
    *lines, last = _read_bytes(path, what, remedy).split(b"\n")
    objects = []
    for number, line in enumerate([*lines, *filter(None, [last])], 1):
        try:
            values = parse_json(line)
            if not isinstance(values, dict):
                raise ValueError("no object")
        except ValueError as error:
            if number > len(lines):
                break
            text = line[:40].decode("utf-8", "replace")
            raise InputError(f"expected {what} in {path}, line {number}, found {text!r}: {remedy}") from error
        objects.append(values)
    return objects


def _read_bytes(path: str | Path, what: str, remedy: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"expected {what} in {path}, found: {error.strerror or error}: {remedy}") from error


def parse_json(text: str | bytes) -> Any:
    """As json.loads, bytes as UTF-8; ValueError too for what is nested too deeply, and for a key that an
    object has twice: which of two classes would be an image's?"""
    try:
        return json.loads(
            text if isinstance(text, str) else text.decode("utf-8"), object_pairs_hook=_each_key_once
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return mapping


def json_line(values: dict[str, Any]) -> str:
    """A line of JSON Lines, in the letters themselves; a name that isn't UTF-8 stands in escapes."""
    line = json.dumps(values, ensure_ascii=False)
    return (line if is_utf8(line) else json.dumps(values)) + "\n"


def is_utf8(text: str) -> bool:
    """Whether a text, or a file's name, can be written as UTF-8: not with half of a pair of surrogates in it,
    in which Python holds bytes of other encodings."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


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


def mapped_array(path: str | Path, kind: type, shape: tuple[int, ...]) -> np.ndarray:
    """A new .npy file of zeros, mapped for writing.

    Its room on the disk is taken at once: a disk that is full when a map is written to ends the process,
    without a word. Raises OSError where there is no room.
    """
    array = np.lib.format.open_memmap(path, "w+", kind, shape)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with open(path, "r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)
    return array


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text in UTF-8, with or without a byte order mark. They end at line feeds, carriage
    returns or both, and at nothing else that Unicode calls the end of a line or of a paragraph.

    Raises InputError, naming the file, for a missing one and for one of other bytes.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # other ends became this one
    except UnicodeDecodeError as error:
        raise InputError(
            f"expected UTF-8, found other bytes at byte {error.start} in {path}: mend it or get it again"
        ) from error
    except OSError as error:
        raise InputError(
            f"expected a text at {path}, found: {error.strerror or error}: check the path"
        ) from error
    return lines if lines[-1] else lines[:-1]
