"""How to get an answer again: commands for the repository's root, and the part of a link that carries it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import s2i
from s2i.app.studio import MOST_CHARACTERS, Request, parse_seeds

ROOT = Path(s2i.__file__).resolve().parents[1]  # of the repository
RECORDING = "recording.wav"  # a visitor's, as the saved archive has it


@dataclass(frozen=True)
class Shared:
    """What a link carries."""

    text: str
    seeds: str
    example: str  # its name; "" where there is none


def commands(
    request: Request, modalities: Sequence[str], model: Path, recording: Path | str = RECORDING
) -> list[str]:
    """A command an image.

    Args:
        recording: an example's file; else the archive is to be unpacked where the command is given.
    """
    told = {
        "speech": f"--speech={from_root(recording)}",
        "text": f"--text={request.text.strip()}",
    }
    return [
        shlex.join(
            ["s2i", "generate", "--model", from_root(model), told[modality], "--seed", str(seed)]
            + ["--stages", "--output", f"{modality}-seed-{seed}.png"]
        )
        for modality in modalities
        for seed in request.seeds
    ]


def from_root(path: Path | str) -> str:
    """A path as it is named in the repository's root; outside of it, the whole path. A bare name stays."""
    if isinstance(path, str):
        return path
    whole = path.resolve()
    return str(whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else whole)


def query(request: Request, example: str = "") -> str:
    """ "?text=...&seeds=..." or "?example=...&seeds=..."; "" for a recording alone, which no link holds."""
    text = request.text.strip()
    if not (text or example):
        return ""
    seeds = ",".join(map(str, request.seeds))
    return "?" + urlencode(({"example": example} if example else {"text": text}) | {"seeds": seeds})


def read_query(words: str) -> Shared | None:
    """What such a link carries; None where it carries no sentence.

    Raises InputError for seeds that are none.
    """
    given = {name: values[0] for name, values in parse_qs(words.removeprefix("?")).items()}
    text, example = given.get("text", "").strip()[: MOST_CHARACTERS + 1], given.get("example", "")
    if not (text or example):
        return None
    seeds = given.get("seeds", "0")
    parse_seeds(seeds)
    return Shared(text, seeds, example)
