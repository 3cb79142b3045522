"""Parts: files and folders in the making, and how those that a killed process has left are known.

A part's name begins with a dot and ends in `.s2i-part`, and its maker holds a lock on it (flock), which goes
with the process however that ends. So a part whose lock can be had has lost its maker and may be removed;
where the file system has no locks, nothing is. Links are never followed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART = ".s2i-part"
_RANDOM = "?" * 8  # that tempfile puts into a name
_LONGEST = 200  # bytes of a name that its part's name has: none may pass 255


@contextmanager
def part_file(path: Path) -> Iterator[tuple[int, Path]]:
    """A new file beside `path`, as (descriptor, name), to be renamed onto it; else it is removed at the end.

    The block closes the descriptor, and with it gives up the lock, after it has renamed the file.
    """
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=PART)
        part = Path(name)
        try:
            if not _lock(handle, part):
                os.close(handle)
                continue
            yield handle, part
            return
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def part_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`; what the block has left in it is removed at the end.

    Folders of killed processes, beside the same `path`, are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    while True:
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path), suffix=PART))
        with _locked_folder(part) as is_ours:
            if not is_ours:
                continue
            part.chmod(0o777 & ~umask())
            try:
                yield part
            finally:
                shutil.rmtree(part, ignore_errors=True)
            return


def lasting_part(path: Path) -> Path:
    """The name of the part beside `path` that a killed process leaves for the next call."""
    return path.with_name(f".{_beginning(path.name)}{PART}")


@contextmanager
def lasting_part_folder(path: Path) -> Iterator[Path]:
    """The folder `lasting_part(path)`, with all that an unfinished call has left in it.

    It stays where the block fails; else it is removed, unless the block has renamed it. Two processes that
    would be in it together are for the caller to keep apart (`s2i.files.locks`).
    """
    part = lasting_part(path)
    while True:
        part.mkdir(parents=True, exist_ok=True)
        with _locked_folder(part) as is_ours:
            if not is_ours:
                continue
            yield part
            if part.exists():
                shutil.rmtree(part)
            return


def sweep(folder: Path, name: str = "", deep: bool = False) -> None:
    """Remove the parts in a folder that have lost their makers, but for lasting ones.

    Args:
        name: parts of files or folders of this name alone; "": of all.
        deep: those in folders inside too.
    """
    for place, folders, files in os.walk(folder, followlinks=False):
        for entry in [*folders, *files]:
            if _is_part(entry, name):
                discard(Path(place) / entry)
        if not deep:
            return
        folders[:] = [inner for inner in folders if not inner.endswith(PART)]


def discard(part: Path) -> bool:
    """Remove a part, unless a process is at work in it or locks don't work; whether it is gone."""
    try:
        handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone already, or a link
        return not os.path.lexists(part)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
        return True
    except OSError:  # in use; no locks; a folder that is protected
        return False
    finally:
        os.close(handle)


def umask() -> int:
    """The process's mask of permissions."""
    current = os.umask(0)
    os.umask(current)
    return current


def _prefix(path: Path) -> str:
    return f".{_beginning(path.name)}."


def _beginning(name: str) -> str:
    """So much of a name, in whole letters, as a part's name has."""
    return os.fsencode(name)[:_LONGEST].decode("utf-8", "ignore")


def _is_part(entry: str, name: str) -> bool:
    """Whether a file's name is that of a part that doesn't last."""
    stem, dot, random = entry.removesuffix(PART).rpartition(".")
    is_part = entry.startswith(".") and entry.endswith(PART) and dot and len(random) == len(_RANDOM)
    return bool(is_part) and (not name or stem == f".{_beginning(name)}")


@contextmanager
def _locked_folder(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder; False where a sweeper was quicker and has removed it."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _lock(handle, folder)
    finally:
        os.close(handle)


def _lock(handle: int, part: Path) -> bool:
    """Lock a new part; False where a sweeper was quicker and has removed it."""
    with suppress(OSError):  # a file system without locks: what is left there is not removed
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(part))
    except FileNotFoundError:
        return False
