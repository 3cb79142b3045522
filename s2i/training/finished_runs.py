"""Earlier runs of generators that a training stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s2i.errors import InputError
from s2i.runs.checkpoint import LAST, read_checkpoint


def read_finished_gan(folder: str | Path, key: str) -> dict[str, Any]:
    """The last checkpoint of a finished run of `s2i train-gan`.

    Args:
        key: the setting that names the folder, for messages.

    Raises InputError for another kind of run, and for one that isn't finished.
    """
    state = read_checkpoint(Path(folder) / "checkpoints" / LAST)
    if state.get("kind") != "gan":
        raise InputError(f"expected a run of s2i train-gan as {key}, found another kind in {folder}")
    if state["step"] < state["config"]["gan"]["steps"]:
        raise InputError(
            f"expected a finished run as {key}, found {state['step']} of {state['config']['gan']['steps']}"
            f" steps in {folder}: train it to its end"
        )
    return state
