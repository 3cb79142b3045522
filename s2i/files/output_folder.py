"""What a command may write: into a folder that is new, empty or its own; onto a file that was named to it.

`.s2i-output.jsonl` in a folder is the proof that it is a command's own. Its first line names the command,
each further one a file that the command wrote and the SHA-256 of its content:

    {"command": "s2i report"}
    {"file": "index.html", "sha256": "..."}

Only such files are ever replaced or removed, and only as they were written: one that somebody has changed, a
link, and whatever else lies in the folder stay. A line is there before its file, so a killed command knows
its own again.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from s2i.errors import InputError
from s2i.files.atomic import append_json, json_line, parse_json, sha256_of, write_atomically
from s2i.files.locks import only_process
from s2i.files.unfinished import PART, part_folder, sweep
from s2i.progress import say

RECORD = ".s2i-output.jsonl"
# Neither proof nor obstacle, and never touched: what a recipe and file managers put into any folder.
IGNORED = (RECORD, "seconds.json", ".DS_Store", "Thumbs.db", "desktop.ini")


def refuse_foreign(
    folder: str | Path,
    made_by: str,
    is_ours: Callable[[str], bool] | None = None,
    remedy: str = "name another folder",
) -> None:
    """Refuse a file where a folder is to be, and a folder that holds anything else.

    Args:
        made_by: what may be there, for the error.
        is_ours: of a path inside, relative and without links in it; without: nothing may be there.
        remedy: what to do, for the error.

    Raises:
        InputError: the first thing that is not ours is named.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(
            f"expected a new or empty folder, or {made_by}, at {folder}, found a file of that name: {remedy}"
        )
    foreign = next((name for name in contents(folder) if not (is_ours and is_ours(name))), None)
    if foreign is not None:
        raise InputError(
            f"expected a new or empty folder, or {made_by}, at {folder}, found {foreign} there, which is"
            f" not: {remedy}, or move it away"
        )


def contents(folder: Path) -> Iterator[str]:
    """Files and links inside, in order, by their path in it; not parts, locks and records."""
    for place, folders, files in os.walk(folder, followlinks=False):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.endswith(PART))
        links = [name for name in folders if (here / name).is_symlink()]
        for name in sorted([*files, *links]):
            if name not in IGNORED and not (name.startswith(".") and name.endswith((PART, ".lock"))):
                yield (here / name).relative_to(folder).as_posix()


class OutputFolder:
    """A folder that one command writes. `path`: where it is, links followed."""

    def __init__(
        self,
        path: str | Path,
        command: str,
        nothing_else: bool = False,
        older: Callable[[Path], Iterable[str]] | None = None,
    ) -> None:
        """Nothing is written yet.

        Args:
            command: such as "s2i report".
            nothing_else: refuse the command's own folder too where anything else lies in it.
            older: the files that the command wrote into a folder before there were records; none where it is
                not the command's.

        Raises:
            InputError: the folder is neither new nor empty nor the command's.
        """
        self.path = Path(os.path.realpath(path))
        self._given_path, self._command, self._nothing_else, self._older = path, command, nothing_else, older
        self._known: dict[str, set[str]] = defaultdict(set)
        self._check()

    def write(self, name: str, content: bytes | str) -> Path:
        """Write one file; the folder is made where it is missing.

        Raises InputError where a file of that name is there that the command did not write.
        """
        content = content.encode() if isinstance(content, str) else content
        self._refuse(name)
        self._note({name: hashlib.sha256(content).hexdigest()})
        with write_atomically(self.path / name, "wb") as stream:
            stream.write(content)
        return Path(self._given_path) / name

    def append(self, name: str, values: dict[str, Any]) -> None:
        """Add a line to a file of JSON Lines, which is the command's own whatever else has changed it.

        Raises InputError as `write` does.
        """
        if name not in self._known:
            self._refuse(name)
            self._begin()
            append_json(self.path / RECORD, {"file": name})
            self._known[name] = set()
        append_json(self.path / name, values)

    def owns(self, name: str) -> bool:
        """Whether a file is there as the command wrote it."""
        path = self.path / name
        try:
            return (
                name in self._known
                and path.is_file()
                and not any((self.path / relative).is_symlink() for relative in (name, *_parents(name)))
                and (not self._known[name] or sha256_of(path) in self._known[name])
            )
        except OSError:
            return False

    @contextmanager
    def replaced(self, last: str) -> Iterator[Path]:
        """A folder to write into, whose files take the place of all that the command wrote before.

        They do so when the block has ended well, and not at all where somebody else's file is in the way.

        Args:
            last: the file that makes the output whole: it goes first and comes last.
        """
        beside = self.path / "output" if self.path.is_dir() else self.path  # which may be another disk
        with part_folder(beside) as made:
            yield made
            with self.held():
                if any((self.path / name).exists() for name in self._known):
                    say(f"{self._given_path} is replaced")
                self._move(made, last)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out while the block runs. Raises InputError where one is at work."""
        with only_process(self.path):
            self._check()
            yield

    def _move(self, made: Path, last: str) -> None:
        """Put the files of a folder in the place of what the command wrote before."""
        names = [name for name in contents(made) if name != last] + [last]
        for name in names:
            self._refuse(name)
        old, digests = list(self._known), {name: sha256_of(made / name) for name in names}
        self._note(digests)
        for name in [last, *old]:
            if name not in names[:-1] and self.owns(name):
                (self.path / name).unlink()
                for parent in _parents(name):
                    with suppress(OSError):  # which keeps a folder that isn't empty
                        (self.path / parent).rmdir()
        for name in names:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(made / name, self.path / name)
        with write_atomically(self.path / RECORD) as stream:
            stream.write(json_line({"command": self._command}))
            for name, digest in digests.items():
                stream.write(json_line({"file": name, "sha256": digest}))

    def _check(self) -> None:
        command, self._known = _read(self.path / RECORD)
        self._is_recorded = bool(command)
        if command == self._command:
            sweep(self.path, deep=True)
            if self._nothing_else:
                refuse_foreign(self._given_path, f"one that {self._command} wrote", self._known.__contains__)
            return
        if command:
            raise InputError(
                f"expected a new or empty folder, or one that {self._command} wrote, at {self._given_path},"
                f" found one that {command} wrote: name another"
            )
        owned = set(self._older(self.path)) if self._older else set()
        refuse_foreign(self._given_path, f"one that {self._command} wrote", owned.__contains__)
        self._known = defaultdict(set, {name: set() for name in owned})

    def _refuse(self, name: str) -> None:
        blocked = next(
            (
                parent
                for parent in _parents(name)
                if os.path.lexists(self.path / parent)
                and ((self.path / parent).is_symlink() or not (self.path / parent).is_dir())
            ),
            name if os.path.lexists(self.path / name) and not self.owns(name) else None,
        )
        if blocked:
            raise InputError(
                f"expected to write {name} into {self._given_path}, found {blocked} there, which"
                f" {self._command} did not write, or not as it is now: move it away, or name another folder"
            )

    def _begin(self) -> None:
        """Make the folder and its record where there is none."""
        if not self._is_recorded:
            append_json(self.path / RECORD, {"command": self._command})
            for name in self._known:  # of a folder that had none
                append_json(self.path / RECORD, {"file": name})
            self._is_recorded = True

    def _note(self, digests: dict[str, str]) -> None:
        self._begin()
        for name, digest in digests.items():
            if digest not in self._known[name]:
                append_json(self.path / RECORD, {"file": name, "sha256": digest})
                self._known[name].add(digest)


def check_output_file(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Whether a file that was named to a command may be written, asked before anything else is done.

    What a killed process has left of the same file goes.

    Args:
        inputs: files that the command reads, which it must not replace.

    Raises:
        InputError: a folder is there, or an input.
    """
    path = Path(path)
    refuse_folder(path)
    sweep(path.parent, path.name)
    if not os.path.lexists(path):
        return
    for given in inputs:
        if path.exists() and Path(given).exists() and path.samefile(given):
            raise InputError(f"expected another file to write than {given}, which is read: name another")


def say_replaced(path: str | Path) -> None:
    """Say that a file that was named to a command takes another's place: when all else has gone well, right
    before it is written."""
    if os.path.lexists(path):
        say(f"{path} is replaced")


def refuse_folder(path: Path) -> None:
    """Refuse a folder where a file is to be written."""
    if path.is_dir():
        raise InputError(f"expected a file to write, found a folder at {path}: name a file in it")


def _read(record: Path) -> tuple[str, dict[str, set[str]]]:
    """The command, "" without a record; and the digests of each file, none where they aren't known."""
    known: dict[str, set[str]] = defaultdict(set)
    command = ""
    if record.is_symlink() or not record.is_file():
        return command, known
    for line in record.read_bytes().split(b"\n"):
        try:
            entry = parse_json(line)
            if not command:
                command = str(entry["command"])
            elif "sha256" in entry:
                known[entry["file"]].add(entry["sha256"])
            else:
                known[entry["file"]]
        except (ValueError, KeyError, TypeError):  # a last line that was cut short
            continue
    return command, known


def _parents(name: str) -> list[str]:
    """The folders that a file lies in, innermost first."""
    return [parent.as_posix() for parent in Path(name).parents if parent != Path(".")]
