"""What lies in a folder and below it: one walk for every command."""

from __future__ import annotations

import os
import stat
from collections import defaultdict, deque
from collections.abc import Collection
from pathlib import Path

from s2i.errors import InputError
from s2i.progress import listed, say


def walk(folder: str | Path, endings: Collection[str]) -> list[Path]:
    """Files below a folder whose names have one of the endings (lower case, with the dot), in order of paths.

    Links to files and to folders are followed, each folder is read once: a link to a folder that is read
    anyway, or that holds this one, is passed over. So are hidden files and folders, which programs leave for
    themselves (`.ipynb_checkpoints`, `._bird.jpg`), and broken links. What was passed over is said.

    Raises InputError for a folder that can't be read.
    """
    folder = Path(folder)
    files: list[Path] = []
    passed: dict[str, list[Path]] = defaultdict(list)
    try:
        known = {_identity(os.stat(above)) for above in folder.resolve().parents}
        folders, links = deque([folder]), deque()  # a folder keeps its own path where a link has another
        while folders or links:
            place = (folders or links).popleft()
            if (identity := _identity(os.stat(place))) in known:
                passed["repeated folder"].append(place)
                continue
            known.add(identity)
            with os.scandir(place) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    path = place / entry.name
                    is_wanted = path.suffix.lower() in endings
                    try:
                        mode = entry.stat().st_mode
                    except OSError:
                        if not entry.is_symlink():
                            raise
                        if not entry.name.startswith("."):  # as editors leave them
                            passed["broken link"].append(path)
                        continue
                    if entry.name.startswith(".") and (stat.S_ISDIR(mode) or is_wanted):
                        passed[f"hidden {'folder' if stat.S_ISDIR(mode) else 'file'}"].append(path)
                    elif stat.S_ISDIR(mode):
                        (links if entry.is_symlink() else folders).append(path)
                    elif stat.S_ISREG(mode) and is_wanted:
                        files.append(path)
    except OSError as error:
        raise InputError(
            f"expected a folder that can be read at {error.filename}, found: {error.strerror}: change its"
            " rights"
        ) from error
    if passed:
        skipped = []
        for kind, paths in sorted(passed.items()):
            some = listed(path.relative_to(folder) for path in sorted(paths))
            skipped.append(f"{len(paths)} {kind}{'s' * (len(paths) > 1)} ({some})")
        say(f"{folder}: passed over {', '.join(skipped)}")
    return sorted(files)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
