"""Features of images on disk: memory-mapped, filled in any order, found again when their fingerprint fits.

    <folder>/<name>-<fingerprint>/
      made-from.json   what the fingerprint is the hash of, for people
      <output>.npy     float32 (rows, width), one for each output of the extractor
      done.npy         bool (rows,): which rows are there

Two processes may fill one store: what they write to a row is the same. None deletes a store that another
has open, nor a folder whose name is not the hash of its `made-from.json`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from s2i.errors import InputError
from s2i.files.atomic import mapped_array
from s2i.files.output_folder import refuse_foreign
from s2i.files.unfinished import part_folder

ROWS_A_FLUSH = 1024  # rows are marked as done together, after they have been flushed
_DIGITS = 16  # of the fingerprint, in a folder's name


class FeatureStore:
    """Rows of features of one extractor on one set of images."""

    def __init__(
        self,
        folder: Path,
        name: str,
        made_from: dict[str, Any],
        rows: int,
        outputs: dict[str, int],
        prune: bool = False,
    ) -> None:
        """Open the store, or make it.

        Args:
            folder: of all stores; made where it is missing.
            name: of this one, for people.
            made_from: all that its content depends on, as plain values.
            rows: images.
            outputs: {name: width}.
            prune: delete stores of this name that were made from something else, unless they are in use.

        Raises:
            InputError: the folder can't be written, or holds anything but stores.
        """
        text = json.dumps(made_from, sort_keys=True, indent=1)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self.folder = folder / f"{name}-{self.fingerprint[:_DIGITS]}"
        self.rows, self.outputs = rows, outputs
        self._waiting: list[np.ndarray] = []
        refuse_foreign(
            folder,
            "features of evaluations",
            # Those of an exported model have a folder of their own in here.
            lambda inside: any(is_store(folder / parent) for parent in Path(inside).parents),
            "set evaluation.cache to another folder",
        )
        try:
            if not self._opens():
                self._make(text)
            if prune:
                _prune(folder, name, self.folder)
        except OSError as error:
            raise InputError(
                f"expected to write features into {folder}, found: {error.strerror or error}:"
                " set evaluation.cache to another folder"
            ) from error

    @property
    def missing(self) -> np.ndarray:
        """Rows that are not there yet, rising: (M,) int64."""
        return np.flatnonzero(~np.asarray(self._done))

    def write(self, rows: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Put values {output: (R, width)} into some rows."""
        for name, array in self._arrays.items():
            array[rows] = values[name]
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= ROWS_A_FLUSH:
            self.flush()

    def flush(self) -> None:
        """Mark what has been written as done, once it is on the disk."""
        if self._waiting:
            for array in self._arrays.values():
                array.flush()
            self._done[np.concatenate(self._waiting)] = True
            self._done.flush()
            self._waiting = []

    def read(self) -> dict[str, np.ndarray]:
        """{output: (rows, width) float32}, mapped, not loaded; writing into it changes no file.

        Raises InputError where rows are missing: another program has changed the folder.
        """
        if len(self.missing):
            raise InputError(
                f"expected {self.rows} rows of features in {self.folder}, found {len(self.missing)} missing:"
                " something else has changed it, call the command again"
            )
        return {name: np.load(self.folder / f"{name}.npy", mmap_mode="c") for name in self.outputs}

    def _opens(self) -> bool:
        """Whether there is a whole store to open; one of another shape is deleted."""
        try:
            self._in_use = (self.folder / "done.npy").open("rb")  # as long as this object lives
            fcntl.flock(self._in_use, fcntl.LOCK_SH)
            self._done = _open(self.folder / "done.npy")
            self._arrays = {name: _open(self.folder / f"{name}.npy") for name in self.outputs}
        except FileNotFoundError:
            remove_store(self.folder)
            return False
        except (ValueError, EOFError):  # cut short
            remove_store(self.folder)
            return False
        shapes = {name: array.shape for name, array in self._arrays.items()}
        if self._done.shape == (self.rows,) and shapes == self._shapes():
            return True
        remove_store(self.folder)
        return False

    def _make(self, text: str) -> None:
        """Whole by one rename; where another process was quicker, its store is opened."""
        with part_folder(self.folder) as made:
            (made / "made-from.json").write_text(text + "\n", encoding="utf-8")
            for name, shape in self._shapes().items():
                mapped_array(made / f"{name}.npy", np.float32, shape)
            mapped_array(made / "done.npy", np.bool_, (self.rows,))
            try:
                os.rename(made, self.folder)
            except OSError:
                if not self.folder.is_dir():
                    raise
        if not self._opens():
            raise OSError(f"{self.folder} is being changed by another process")

    def _shapes(self) -> dict[str, tuple[int, int]]:
        return {name: (self.rows, width) for name, width in self.outputs.items()}


def _open(path: Path) -> np.ndarray:
    np.load(path, mmap_mode="r")  # refuses a file that is too short, which the next line would fill up
    return np.load(path, mmap_mode="r+")


def is_store(folder: Path) -> bool:
    """Whether a folder is a store: its name ends in the hash of what it says it was made from."""
    try:
        text = (folder / "made-from.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    digest = hashlib.sha256(text.removesuffix("\n").encode()).hexdigest()
    return not folder.is_symlink() and folder.name.endswith(f"-{digest[:_DIGITS]}")


def remove_store(folder: Path) -> None:
    """Remove a store's own files; a folder in which others lie stays, and so does what is no store."""
    if not is_store(folder):
        return
    for path in sorted(folder.glob("*.npy")):
        path.unlink(missing_ok=True)
    if [path.name for path in folder.iterdir()] == ["made-from.json"]:
        (folder / "made-from.json").unlink(missing_ok=True)
        folder.rmdir()


def _prune(folder: Path, name: str, kept: Path) -> None:
    for other in folder.glob(f"{name}-{'[0-9a-f]' * _DIGITS}"):
        if other == kept:
            continue
        try:
            with (other / "done.npy").open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_store(other)
        except BlockingIOError:
            continue  # in use
        except FileNotFoundError:
            remove_store(other)
