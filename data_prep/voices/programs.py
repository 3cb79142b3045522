"""Synthesisers that are programs of their own: how they are called, and what they are given to read."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from data_prep.voices.family import Sound, without_edges
from s2i.errors import InputError

_TYPOGRAPHY = str.maketrans("‘’‚“”„–—−×", "'''\"\"\"---x")
_PATIENCE = 120.0  # s that a program may take to start and for a sentence, on a machine that is busy
_PATIENCE_A_CLIP = 20.0  # s for each further sentence


def run_program(
    command: Sequence[str | Path], clips: int, given: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess:
    """Run a synthesiser, with `given` on its standard input. Raises InputError for one that never ends.

    Args:
        clips: that it makes; how long it may take depends on them.
    """
    seconds = _PATIENCE + _PATIENCE_A_CLIP * clips
    try:
        return subprocess.run(
            list(map(str, command)),
            input=(given or "").encode(),
            capture_output=True,
            timeout=seconds,
            cwd=cwd,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"expected {command[0]} to speak {clips} sentences, found it still at it after {seconds:.0f} s:"
            " try it by hand; the same command continues"
        ) from error
    except OSError as error:
        raise InputError(
            f"expected to run {command[0]}, found: {error.strerror}: is it installed?"
        ) from error


def first_line(command: Sequence[str], marker: str) -> str:
    """The first line with `marker` of what a program prints, its words apart by single spaces."""
    answer = run_program(command, 1)
    lines = (answer.stdout + b"\n" + answer.stderr).decode(errors="replace").splitlines()
    line = next((line for line in lines if marker in line), "")
    return " ".join(line.split()) or shutil.which(command[0]) or command[0]


def latin_words(text: str, family: str) -> str:
    """The text in ASCII, on one line, for programs that read bytes: accents and typography are lost.

    Fractions become 1/2 and the like. Raises InputError for a letter or a digit that has no such form.
    """
    plain = unicodedata.normalize("NFKD", text.translate(_TYPOGRAPHY)).replace("\u2044", "/")  # ½ is 1⁄2
    foreign = next((c for c in plain if not c.isascii() and c.isalnum()), None)
    if foreign is not None:
        raise InputError(
            f"expected English letters, all that {family} reads, found {foreign!r} in {text[:40]!r}: have"
            " another family speak it"
        )
    kept = (c if c.isprintable() else " " for c in plain if c.isascii())
    return " ".join("".join(kept).split())


def has_words(text: str) -> bool:
    """Whether a synthesiser has anything to pronounce in it."""
    return any(c.isalnum() for c in text)


def read_sound(path: Path) -> Sound:
    """What a synthesiser wrote, without silence around it; silence where it wrote nothing that is sound."""
    try:
        waveform, sample_rate = soundfile.read(path, dtype="float32")
    except (OSError, soundfile.LibsndfileError):
        return np.zeros(0, np.float32), 16000
    return without_edges(waveform, sample_rate), sample_rate


def replayed(sound: Sound, pitch: float) -> Sound:
    """Played `pitch` times as fast, for voices that take no pitch: formants move with it, as in a vocal tract
    of another length. Who speaks must be that much slower. Rates are multiples of 400 Hz, which resample
    cheaply."""
    waveform, sample_rate = sound
    return waveform, round(sample_rate * pitch / 400) * 400
