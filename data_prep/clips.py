"""Files of spoken captions: where they lie, when one is there, how one is written, how long one may be."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import soundfile

from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.output_folder import refuse_foreign
from s2i.files.unfinished import sweep

# Of a clip's 16 bits the last two are rounded away: 84 dB below full scale, and a fifth of a FLAC's bytes.
# 40,000 captions of 3.3 s take 3.0 GB so, 3.7 GB with all bits, and 5.9 GB as WAV.
_BITS = 14
FORMAT = 1  # part of a clip's name: to be raised when the same request is to give another file
_CLIP = re.compile(r"[0-9a-f]{2}/[0-9a-f]{20}\.flac|s2igan/.+-\d+-of-\d+\.flac")  # in the folder of clips
_SHORTEST = 0.1  # s; a word such as "a" takes .2
_FAINTEST = 0.01  # of full scale


def clip_folder(root: str | Path, audio: str) -> Path:
    """The folder `audio` under `root`, made where it is missing.

    Raises InputError for one elsewhere, and for one that holds anything but clips.
    """
    root = Path(root)
    folder = root / audio
    if not folder.resolve().is_relative_to(root.resolve()):
        raise InputError(f"expected a folder for clips inside --root {root}, found {audio}: change --audio")
    refuse_foreign(folder, "clips", lambda name: bool(_CLIP.fullmatch(name)), "change --audio")
    sweep(folder, deep=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"expected to write clips to {folder}, found: {error.strerror}: change --root"
        ) from error
    return folder


def clip_exists(path: Path) -> bool:
    """Whether a clip is there. A power cut may leave an empty one, which is none."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def write_clip(path: Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Write a waveform, float (N,) in [-1, 1], as FLAC: whole or not at all. Raises InputError."""
    step = 2 ** (16 - _BITS)
    samples = np.clip(np.round(waveform * 32768 / step) * step, -32768, 32768 - step).astype(np.int16)
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sample_rate, format="FLAC", subtype="PCM_16", compression_level=0)
    # Not waiting for the disk, which would take longer than speaking: a killed process leaves no torn file,
    # and an empty one that a power cut leaves is made again.
    with write_atomically(path, "wb", to_disk=False) as stream:
        stream.write(encoded.getbuffer())


def implausible_clip(text: str, rate: float, waveform: np.ndarray, sample_rate: int) -> str | None:
    """What was expected and found where a waveform can't be speech of `text` at `rate` words a minute; None
    where it can: as long as it should be, heard, and finite."""
    seconds = len(waveform) / sample_rate
    # A word takes 60 / rate s; where words are not written apart, a letter takes up to .1 s.
    expected = max(len(text.split()) * 60 / rate, 0.1 * len(text))
    if not _SHORTEST <= seconds <= 1 + 4 * expected or seconds < _least_seconds(text, rate):
        duration = f"{seconds:.2f} s" if seconds else "silence"
        return f"expected about {expected:.1f} s of speech, found {duration}"
    if not np.isfinite(waveform).all():
        return "expected a waveform of finite samples, found NaN or infinity"
    peak = np.abs(waveform).max()
    if peak < _FAINTEST:
        return f"expected speech, found nothing above {peak:.4f} of full scale"
    return None


def _least_seconds(text: str, rate: float) -> float:
    """The s that a sentence which isn't cut takes at the very least: a quarter of what its words take, or of
    what its letters take at 15 a second, where that is less."""
    words = sum(any(c.isalnum() for c in word) for word in text.split())
    letters = sum(c.isalnum() for c in text)
    return 0.25 * min(words * 60 / rate, letters / 15 * 180 / rate)
