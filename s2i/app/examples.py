"""Recordings to try on the page: those beside a model, or beside all models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from s2i.data.audio import Recording
from s2i.data.sound_files import read_recording
from s2i.errors import InputError

FOLDER, LIST = "examples", "examples.jsonl"
MOST, LONGEST = 8, 30.0  # examples; s of each


@dataclass(frozen=True)
class Example:
    """A recording with what is said in it."""

    path: Path
    text: str
    speaker: str
    samples: np.ndarray  # int16 (N,)
    rate: int  # Hz

    @property
    def name(self) -> str:
        """Its file's name without the ending: what a link calls it."""
        return self.path.stem

    def is_in(self, recording: Recording) -> bool:
        """Whether a file holds these samples."""
        return holds(recording, self.rate, self.samples)


def find_examples(origin: Path) -> list[Example]:
    """The examples of `origin`/examples, else of the folder beside `origin`: a line of `examples.jsonl` each,
    with `audio`, `text` and `speaker`, as in a manifest's captions.

    Raises InputError for a list that can't be read.
    """
    for folder in (origin / FOLDER, origin.resolve().parent / FOLDER):
        if (folder / LIST).is_file():
            lines = (folder / LIST).read_text(encoding="utf-8").splitlines()
            return [_read(folder, line) for line in lines[:MOST] if line.strip()]
    return []


def holds(recording: Recording, rate: int, samples: np.ndarray) -> bool:
    """Whether a file's sound is `samples`, int16 (N,) at `rate` Hz."""
    read, read_rate = read_recording(recording, LONGEST)
    return read_rate == rate and np.array_equal(_as_int16(read), samples)


def _read(folder: Path, line: str) -> Example:
    try:
        given = json.loads(line)
        path = folder / given["audio"]
        text, speaker = str(given["text"] or ""), str(given.get("speaker") or "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected a line with audio, text and speaker, found {line[:60]!r} in {folder / LIST}: mend it"
        ) from error
    samples, rate = read_recording(path, LONGEST)
    return Example(path, text, speaker, _as_int16(samples), rate)


def _as_int16(samples: np.ndarray) -> np.ndarray:
    """The first channel of float32 (N, channels)."""
    return np.round(samples[:, 0] * 32768).clip(-32768, 32767).astype(np.int16)
