"""Rooms and noise in the mel-power domain, where a sum of two sounds is the sum of their powers.

The phases of two sounds are independent, so the mean power of their sum is the sum of their powers; what the
cross term adds to a single frame has mean 0 and is left out (tests/data/test_augment.py measures how much
that is, against sums and convolutions of waveforms).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from s2i.config_data import AudioConfig
from s2i.data.audio import log_mel

DIRECT = 2  # frames after which what is heard of a frame is reverberation: two hops, 20 ms
NOISE_SECONDS = 30.0
DECAY = 60 * np.log(10) / 10  # nepers of power in 60 dB
FASTER = 0.3  # power of frequency over 1 kHz by which high frequencies decay faster


def reverberate(power: np.ndarray, seconds: np.ndarray, direct: float, hop: float) -> np.ndarray:
    """Mel power in a room whose response decays exponentially (Polack, 1988), per band.

    What reaches the ear of a frame is the frame, and DIRECT frames later on a tail that falls by 60 dB in
    `seconds`. It is not cut: append silence to hear the last frame's tail.

    Args:
        power: (T, M).
        seconds: reverberation time of each bin, (M,).
        direct: power of the direct sound over that of the whole tail.
        hop: s between frames.

    Returns:
        (T, M), as loud as without the room where a sound is steady.
    """
    factor = np.exp(-DECAY * hop / seconds).astype(np.float32)  # a frame
    tail = np.zeros_like(power)
    tail[DIRECT:] = power[:-DIRECT] * (1 - factor)
    # sum over d of factor^d x[t - d], as the product over k of 1 + (factor z^-1)^(2^k)
    step = 1
    while step < len(power) and factor.max() > 1e-6:
        tail[step:] += factor * tail[:-step]  # the right side is a copy of its own
        factor, step = factor * factor, 2 * step
    return (power * np.float32(direct) + tail) / np.float32(1 + direct)


def decay_seconds(seconds: float, centres: np.ndarray) -> np.ndarray:
    """Reverberation time of each bin, from that at 1 kHz and below: air and walls take more of high
    frequencies. (M,)."""
    return seconds * np.maximum(centres / 1000, 1.0) ** -FASTER


@lru_cache(maxsize=4)
def white_noise(audio: AudioConfig) -> np.ndarray:
    """Mel power of half a minute of white noise, each bin of mean 1: float32 (T, M), the same each time."""
    samples = torch.randn(
        round(NOISE_SECONDS * audio.sample_rate), generator=torch.Generator().manual_seed(0)
    )
    power = np.exp(log_mel(samples, audio).numpy()) - np.float32(audio.log_floor)
    return power / power.mean(0)


def stretch_of(sound: np.ndarray, start: int, count: int) -> np.ndarray:
    """`count` frames of a sound (T, M) from `start` on, around and around."""
    start %= len(sound)
    if start + count <= len(sound):
        return sound[start : start + count]
    return sound[(start + np.arange(count)) % len(sound)]
