"""The trainings before a training: the run that it starts from, its encoders', and those before these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s2i.config import MISSING, Config
from s2i.config_files import config_from_dict
from s2i.runs.checkpoint import BEST, LAST, read_checkpoint
from s2i.runs.fingerprints import Fingerprints


@dataclass(frozen=True)
class EarlierRun:
    """A run's folder and configuration; `data`: fingerprints of the packs that it was trained on, None where
    they are unknown."""

    folder: Path
    config: Config
    data: Fingerprints | None


def earlier_runs(config: Config, kind: str, at_hand: bool = False) -> Iterator[EarlierRun]:
    """Each run before the training that `config` describes, once.

    Args:
        kind: of the training, "encoder" or "gan".
        at_hand: leave out those that aren't there, as encoders of generators, which were trained on the
            generator's data, are at any rate.

    Raises InputError for a run that a training starts from and that isn't there.
    """
    waiting, known = _before(config, kind), set()
    while waiting:
        folder, is_start = waiting.pop(0)
        checkpoints = folder / "checkpoints"
        path = checkpoints / (BEST if (checkpoints / BEST).is_file() else LAST)
        if folder.resolve() in known or not (path.is_file() or (is_start and not at_hand)):
            continue
        known.add(folder.resolve())
        state = read_checkpoint(path, mapped=True)
        earlier = config_from_dict(state["config"], str(path))
        yield EarlierRun(folder, earlier, state.get("data"))
        waiting += _before(earlier, state.get("kind", ""))


def _before(config: Config, kind: str) -> list[tuple[Path, bool]]:
    """The runs right before one, and whether it starts from them."""
    encoders = (config.gan.encoder, config.gan.other_encoder) if kind == "gan" else ()
    named = [(config.start_from, True), *((folder, False) for folder in encoders)]
    return [(Path(folder), is_start) for folder, is_start in named if folder not in ("", MISSING)]
