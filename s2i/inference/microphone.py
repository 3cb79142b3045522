"""A recording from the microphone, until whoever speaks falls silent. Needs sounddevice: the extra `mic`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np

from s2i.errors import InputError
from s2i.progress import say

COUNTDOWN = 3  # s
BLOCK = 0.05  # s that one level is of
SILENCE = 1.2  # s after speech that end a recording; pauses inside of a sentence are shorter
SPEECH = 3  # blocks in a row that are loud: less is a click
CONTRAST = 12.0  # dB of speech over its background; with less nobody has spoken yet
QUIETEST = -80.0  # dB of full scale: digital silence
METER = 30  # characters of the level meter, from -60 dB on


def record(seconds: float) -> tuple[np.ndarray, int]:
    """Record from the default microphone, at its own rate, after a countdown.

    Ends after `seconds`, or `SILENCE` s after what has been said. On a terminal stderr shows the level.

    Returns:
        float32 (N, 1) in [-1, 1], and the rate in Hz.

    Raises:
        InputError: there is no package, no PortAudio, or no microphone.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise InputError(
            "expected the package sounddevice for --record, found none: pip install -e '.[mic]'"
        ) from error
    except OSError as error:  # the package is there, its library is not
        raise InputError(
            f"expected PortAudio for --record, found: {error}: install it (Debian: apt install libportaudio2)"
        ) from error
    try:
        rate = int(sounddevice.query_devices(kind="input")["default_samplerate"])
        size = round(BLOCK * rate)
        options = {"samplerate": rate, "channels": 1, "dtype": "float32", "blocksize": size}
        for left in range(COUNTDOWN, 0, -1):
            say(f"speak in {left} s")
            time.sleep(1)
        with sounddevice.InputStream(**options) as stream:
            say(f"recording, at most {seconds:g} s, until you fall silent")
            blocks, is_complete = _read(stream, size, max(1, round(seconds / BLOCK)))
    except (sounddevice.PortAudioError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"expected a microphone for --record, found: {reason}: connect one, or give a file with --speech"
        ) from error
    samples = np.concatenate(blocks)
    say(f"recorded {len(samples) / rate:.1f} s")
    if not is_complete:
        say("s2i: note: the machine was too slow for its microphone: some of the sound is missing")
    return samples, rate


def _read(stream: object, size: int, most: int) -> tuple[list[np.ndarray], bool]:
    """Blocks of `size` samples until `is_over`, at most so many; and whether nothing was lost."""
    blocks: list[np.ndarray] = []
    levels: list[float] = []
    is_complete, is_shown = True, sys.stderr.isatty()
    while len(blocks) < most and not is_over(levels):
        block, is_overflown = stream.read(size)
        blocks.append(np.array(block))
        levels.append(level(blocks[-1]))
        is_complete = is_complete and not is_overflown
        if is_shown:
            print(f"\r{meter(len(blocks) * BLOCK, levels[-1])}", end="", file=sys.stderr, flush=True)
    if is_shown:
        print(file=sys.stderr)
    return blocks, is_complete


def level(block: np.ndarray) -> float:
    """Decibels of full scale of the deviation from the mean, so that an offset is none."""
    return max(QUIETEST, 20 * float(np.log10(max(1e-9, block.std()))))


def meter(seconds: float, decibels: float) -> str:
    """One line: the time, a bar that is full at 0 dB, and a word where that is too loud or too soft."""
    filled = round(METER * min(1.0, max(0.0, 1 + decibels / 60)))
    remark = "too loud" if decibels > -6 else ""
    return f"{seconds:5.1f} s [{'#' * filled:<{METER}}] {decibels:4.0f} dB {remark:<8}"


def is_over(levels: Sequence[float]) -> bool:
    """Whether somebody has spoken, and been silent for `SILENCE` since; one level a block, in dB.

    Silent is what lies in the lower half between the recording's own background (a tenth of its blocks are
    softer) and its loudest blocks.
    """
    silent = round(SILENCE / BLOCK)
    if len(levels) < silent + SPEECH:
        return False
    values = np.asarray(levels)
    background, loudest = np.quantile(values, 0.1), np.sort(values)[-SPEECH]
    if loudest - background < CONTRAST:
        return False
    is_loud = values > (background + loudest) / 2
    runs = np.lib.stride_tricks.sliding_window_view(is_loud, SPEECH).all(axis=1)
    return bool(runs.any() and not is_loud[-silent:].any())
