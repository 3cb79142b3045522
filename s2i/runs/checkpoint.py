"""Checkpoints: one file that holds everything a training needs to go on, whole or absent.

Plain containers and tensors, so that `torch.load(weights_only=True)` reads it: no class, no code.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.unfinished import sweep

FORMAT = 1  # of the file; another one is refused
LAST = "last.pt"
BEST = "best.pt"  # of an encoder: its best by validation


def write_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write `state` (plain containers and tensors) to one file, atomically.

    Raises InputError where the disk refuses; the file is then as it was.
    """
    with write_atomically(path, "wb") as stream:
        try:
            torch.save({"format": FORMAT, **state}, stream)
        except RuntimeError as error:  # torch's own word for whatever stopped its writer
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def read_checkpoint(path: str | Path, mapped: bool = False) -> dict[str, Any]:
    """What `write_checkpoint` wrote, tensors on the CPU; `mapped`: left in the file until they are used, for
    who wants plain values alone.

    Raises InputError for a missing, cut-short or foreign file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"expected a checkpoint, found none at {path}: check the run's folder, or train it")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # whatever a broken file makes of an unpickler
        raise InputError(
            f"expected a whole checkpoint, found one cut short or of another program in {path}:"
            " delete it, and give an older one its name if there is one"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        file_format = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise InputError(f"expected a checkpoint of format {FORMAT}, found {file_format} in {path}")
    return state


def save_last(folder: str | Path, state: dict[str, Any], keep: int = 0) -> None:
    """Write `state`, which has its `step`, as `last.pt`.

    Where `keep` is not 0 it is also there as `step-00001000.pt` (a hard link: no room of its own until the
    next one comes), and of the older ones of that form the newest `keep` stay.
    """
    folder = Path(folder)
    sweep(folder)
    write_checkpoint(folder / LAST, state)
    if not keep:
        return
    kept = folder / f"step-{state['step']:08d}.pt"
    kept.unlink(missing_ok=True)
    try:
        os.link(folder / LAST, kept)
    except OSError:  # a file system without hard links
        write_checkpoint(kept, state)
    older = sorted(path for path in folder.glob(f"step-{'[0-9]' * 8}.pt") if path.name < kept.name)
    for path in older[:-keep]:
        path.unlink()


def load_last(folder: str | Path) -> dict[str, Any] | None:
    """The state in `last.pt`, or None where the folder has none yet."""
    path = Path(folder) / LAST
    return read_checkpoint(path) if path.exists() else None


def random_state() -> dict[str, Any]:
    """The state of every random generator of this process, as plain lists and tensors."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "python": [version, list(numbers), gauss],
        "numpy": [str(name), keys.tolist(), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` took; a GPU's state is left out where there is none."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Whatever is generated inside, the generators go on afterwards as if it had not been: for measuring."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
