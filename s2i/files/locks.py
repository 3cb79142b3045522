"""One process at a time in a folder: the kernel's own locks, which end with their owner however that ends.

A lock is a file in the folder that its owner keeps locked (`flock`, by way of the package filelock). A killed
process, or a machine that went down, leaves the file and no lock, so nothing has to be guessed from process
numbers, and the next process takes it. The file tells people who holds it, and goes with the lock.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from s2i.errors import InputError
from s2i.progress import say

if TYPE_CHECKING:
    from filelock import FileLock

LOCK = ".lock"


@contextmanager
def only_process(folder: str | Path, name: str = LOCK, wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a folder, or out of a part of it, while the block runs.

    Where the file system has no locks, a line says so and the block runs without one. Folders are made for
    the lock's file where they are missing; those that are empty afterwards go again.

    Args:
        folder: that the block writes into.
        name: of the lock's file in it: one a part that may be worked on alone.
        wait: until the other process is done; else raise.

    Raises:
        InputError: another process works there; its number and machine are named.
    """
    from filelock import FileLock  # here: it brings asyncio, and whoever only reads takes no lock

    path = Path(folder).absolute() / name
    missing = [each for each in (path.parent, *path.parent.parents) if not each.exists()]
    # filelock's own substitute for missing locks asks whether a process number is alive: not here.
    lock = FileLock(path, mode=0o666, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _take(lock, path, wait)
    except (FileExistsError, NotADirectoryError):  # no folder: whoever writes there says so
        lock = None
    except OSError as error:
        say(
            f"{folder} can't be locked ({error.strerror or error}):"
            " see yourself that no other process works there"
        )
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):
                path.unlink()  # while it is held: whoever waits for this file sees that it is gone
            lock.release()
        for each in missing:
            with suppress(OSError):
                each.rmdir()  # which keeps one that is not empty


def _take(lock: FileLock, path: Path, wait: bool) -> None:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = _describe(_read(path))
        if not wait:
            raise InputError(
                f"expected {path.parent} to be this process's alone, found {holder} at work there:"
                " wait for it, end it, or name another folder"
            ) from None
        say(f"{path.parent}: waiting for {holder}, which does the same")
        lock.acquire()
    left, here = _read(path), socket.gethostname()
    if left and left.get("host") != here:
        # Its lock has ended with it, unless this network file system keeps the locks of each machine apart.
        say(f"{path.parent}: {_describe(left)} was not heard to end; if it is still at work there, end one")
    with suppress(OSError):
        path.write_text(json.dumps({"pid": os.getpid(), "host": here}), encoding="utf-8")


def _read(path: Path) -> dict[str, object]:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # its owner hasn't come to write it
        return {}
    return owner if isinstance(owner, dict) else {}


def _describe(holder: dict[str, object]) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')}"
