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

    text: str | None  # None: the example's own
    seeds: str
    example: str = ""  # the name of the one whose recording it is; "" where there is none
    is_spoken: bool = False  # the recording is this text, spoken by the page


def commands(
    request: Request, modalities: Sequence[str], model: Path, recording: Path | str = RECORDING
) -> list[str]:
    """A command an image.

    Args:
        recording: an example's file; else the archive is to be unpacked where the command is given.
    """
    options = {
        "speech": f"--speech={from_root(recording)}",
        "text": f"--text={request.text.strip()}",
    }
    chosen = ["--candidates", str(request.candidates)] if request.candidates > 1 else []
    return [
        shlex.join(
            ["s2i", "generate", "--model", from_root(model), options[modality], "--seed", str(seed), *chosen]
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


def query(shared: Shared) -> str:
    """ "?text=...&seeds=...", with "spoken=1" where that is the recording too, "?example=...&seeds=...", with
    "text=..." where that is another one's; "" for a recording alone, which no link holds."""
    if not (shared.text or shared.example):
        return ""
    given = {"example": shared.example} if shared.example else {}
    given |= {} if shared.text is None else {"text": shared.text}
    given |= {"spoken": "1"} if shared.is_spoken else {}
    return "?" + urlencode(given | {"seeds": shared.seeds})


def read_query(words: str) -> Shared | None:
    """What such a link carries; None where it carries no sentence.

    Raises InputError for seeds that are none.
    """
    fields = parse_qs(words.removeprefix("?"), keep_blank_values=True)  # an example without its text
    given = {name: values[0] for name, values in fields.items()}
    text, example = given.get("text"), given.get("example", "")
    text = None if text is None else text.strip()[: MOST_CHARACTERS + 1]
    if not (text or example):
        return None
    seeds = given.get("seeds", "0")
    parse_seeds(seeds)
    return Shared(text, seeds, example, given.get("spoken") == "1")
