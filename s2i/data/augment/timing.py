"""Augmentation along the time axis: rate, silence, pauses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR = 25  # frames either side in which a pause looks for the quietest place


@dataclass(frozen=True)
class Timing:
    """How long each of N utterances takes; every array is (N,), of one utterance a scalar.

    It is sampled for all utterances of an epoch before any is read, so that batches can be made of utterances
    of about one length.
    """

    rate: np.ndarray  # times as fast
    before: np.ndarray  # frames of silence, and so on
    after: np.ndarray
    pause: np.ndarray

    def of(self, index: int) -> Timing:
        """That of one utterance."""
        return Timing(self.rate[index], self.before[index], self.after[index], self.pause[index])

    def lengths(self, frames: np.ndarray) -> np.ndarray:
        """Frames of utterances of so many: (N,) -> (N,) int64."""
        return np.rint(frames / self.rate).astype(np.int64) + self.before + self.after + self.pause


def stretch(log_mel: np.ndarray, frames: int) -> np.ndarray:
    """An utterance (T, M) at another rate and the same pitch: (frames, M), linear between frames.

    Ko et al. (2015) resample the waveform, which moves pitch and formants too; here those have their own
    augmentation.
    """
    if frames == len(log_mel):
        return log_mel
    place = np.linspace(0, len(log_mel) - 1, frames)
    low = place.astype(np.int64)
    share = (place - low).astype(np.float32)[:, None]
    first = log_mel.take(low, axis=0)  # half the time of log_mel[low]
    change = log_mel.take(np.minimum(low + 1, len(log_mel) - 1), axis=0)
    change -= first
    change *= share
    change += first
    return change


def with_silence(
    power: np.ndarray, loudness: np.ndarray, timing: Timing, around: float, tail: int
) -> np.ndarray:
    """Mel power (T, M) with silence before, after and, in its quietest frame near `around`, within.

    Args:
        loudness: of each frame, (T,).
        timing: of this utterance; its rate isn't read.
        around: in [0, 1), of the utterance's length.
        tail: further frames of silence after it, for a room's tail.
    """
    before, after, pause = int(timing.before), int(timing.after) + tail, int(timing.pause)
    count = len(power)
    result = np.zeros((before + count + pause + after, power.shape[1]), np.float32)
    split = count
    if pause:
        first = int(around * count)
        near = slice(max(0, first - NEAR), min(count, first + NEAR))
        split = near.start + int(loudness[near].argmin())
    result[before : before + split] = power[:split]
    result[before + split + pause : before + pause + count] = power[split:]
    return result
