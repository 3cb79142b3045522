"""Where in a recording somebody speaks: what lies before and after is no part of the sentence.

A log-mel is normalised over the whole utterance, so a second of silence would change every frame of it.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

FRAME = 0.01  # s
SMOOTHING = 3  # frames that are classified together: longer than a period of hum
LOUD = 0.2  # s: the recording's own level is what its loudest frames of so much time reach
QUIET = 0.5  # s: its background is the loudest frame of its quietest stretch of so much time
RANGE = 50.0  # dB under that level nothing is heard, however silent the background
CLEAR = 6.0  # dB over the background: heard;
ONSET = 2.0  # dB over it: heard where it leads to or comes from something that clearly is
LEAST_CONTRAST = 12.0  # dB of level over background; with less there is no stretch without speech
BRIDGE = 0.25  # s of silence that may lie inside a sentence's first or last word
LEAST_SOUND = 0.08  # s; what is shorter and further away is a click
SHORT = round(LOUD / FRAME) + round(QUIET / FRAME)  # frames: from so few nothing is cut


def spoken_part(waveform: Tensor, sample_rate: int, kept: float = 0.0) -> tuple[int, int]:
    """First sample and the one after the last of what is said, with `kept` seconds of silence at either end.

    Power is measured about its stretch's own mean, so that an offset is no sound, against the recording's own
    level and its own background, so that neither volume nor steady noise or hum matters. A soft
    beginning or end counts as far as it rises over the background; a click that stands apart does not. Where
    no stretch is free of speech, only what lies `RANGE` dB under its level is cut; from a recording that is
    shorter than such a stretch and a word, nothing.

    Args:
        waveform: (N,) of any scale; sample_rate: Hz.
        kept: s; with the recording's length or more nothing is cut.
    """
    everything = (0, len(waveform))
    size = max(1, round(FRAME * sample_rate))
    frames = len(waveform) // size
    if kept * sample_rate >= len(waveform) or frames <= SHORT:
        return everything
    samples = waveform.detach().cpu().double().numpy()
    framed = samples[: frames * size].reshape(frames, size)
    spread = SMOOTHING // 2  # frames by which a sudden beginning seems earlier, and an end later
    power = _power(framed, spread)
    background, offset = _background(framed, power)
    heard = spoken_frames(power, background, spread)
    if heard is None:
        return everything
    least = _level(power) * _ratio(-RANGE)
    start = heard.start * size
    stop = len(samples) if heard.stop is None else heard.stop * size
    loud = start + np.flatnonzero(np.abs(samples[start:stop] - offset) > np.sqrt(least))
    if not len(loud):
        return everything
    margin = round(kept * sample_rate)
    return max(0, int(loud[0]) - margin), min(len(samples), int(loud[-1]) + 1 + margin)


def spoken_frames(power: np.ndarray, background: float, spread: int = 0) -> slice | None:
    """The frames of what is said: from 0 or to None where nothing silent lies before or after it; None where
    nothing is clearly heard.

    Args:
        power: of each frame, (T,), more than SHORT.
        background: power of the loudest frame of a stretch without speech.
        spread: frames by which a sudden beginning seems earlier, and an end later.
    """
    level = _level(power)
    if background > level * _ratio(-LEAST_CONTRAST):
        background = 0.0
    least = level * _ratio(-RANGE)
    clear = _without_clicks(power > max(least, background * _ratio(CLEAR)))
    if not len(clear):
        return None
    silent = power <= max(least, background * _ratio(ONSET))
    before, after = np.flatnonzero(silent[: clear[0]]), np.flatnonzero(silent[clear[-1] :])
    start = int(before[-1]) + 1 + spread if len(before) else 0
    return slice(start, int(clear[-1] + after[0]) - spread if len(after) else None)


def _level(power: np.ndarray) -> float:
    """What the loudest frames reach."""
    return float(np.sort(power)[-_count(LOUD)])


def _power(framed: np.ndarray, spread: int) -> np.ndarray:
    """Variance of each frame with as many as `spread` before and behind it: (T, N) -> (T,)."""
    centred = framed - framed.mean()
    means, squares = (
        _windows(np.pad(moment, spread, mode="edge"), 2 * spread + 1).mean(1)
        for moment in (centred.mean(1), np.einsum("tn,tn->t", centred, centred) / centred.shape[1])
    )
    return (squares - means**2).clip(min=0)


def _background(framed: np.ndarray, power: np.ndarray) -> tuple[float, float]:
    """Power and mean of the quietest stretch; frames (T, N) and their power (T,)."""
    loudest = _windows(power, _count(QUIET)).max(1)
    first = int(loudest.argmin())
    return float(loudest[first]), float(framed[first : first + _count(QUIET)].mean())


def _without_clicks(sound: np.ndarray) -> np.ndarray:
    """Indices of frames of sound (T,), without those that are few and apart from all others."""
    heard = np.flatnonzero(sound)
    together = np.split(heard, 1 + np.flatnonzero(np.diff(heard) > _count(BRIDGE)))
    long = [stretch for stretch in together if len(stretch) >= _count(LEAST_SOUND)]
    return np.concatenate([heard[:0], *long])


def _windows(values: np.ndarray, count: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, count)


def _count(seconds: float) -> int:
    return round(seconds / FRAME)


def _ratio(decibels: float) -> float:
    return 10 ** (decibels / 10)
