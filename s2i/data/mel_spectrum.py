"""A waveform -> power in mel bins, fast on one core for any frame length, and the mel scale."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from s2i.data.mel_code import MelPass, compile_mel_pass


class MelSpectrum:
    """Mel power for one sample rate, frame length and number of mels; made by `mel_spectrum`."""

    def __init__(self, size: int, filters: np.ndarray, lanes: int) -> None:
        """Take samples a frame, filters (M, size // 2 + 1) and numbers a vector: see `compile_mel_pass`."""
        self._size, self._mels = size, len(filters)
        self._pass: MelPass = compile_mel_pass(size, filters, lanes)

    def __call__(self, waveform: Tensor, hop: int) -> Tensor:
        """(..., N) float32 -> (..., T, M), frames centred, zeros around: T = 1 + (N + 2 (S // 2) - S) // hop.

        N is at least the S samples of a frame. What is returned is part of a larger array. Threads may share
        this.
        """
        *leading, samples = waveform.shape
        compiled, margin = self._pass, self._size // 2
        count = 1 + (samples + 2 * margin - self._size) // hop
        blocks = -(-count // compiled.lanes)
        reached = (blocks * compiled.lanes - 1) * hop + compiled.reach
        # torch's arrays begin where a cache's line does: no vector of a row lies across two.
        memory = torch.empty(compiled.memory)
        padded = torch.empty(max(reached, margin + samples))
        padded[:margin], padded[margin + samples :] = 0, 0
        power = torch.empty(*leading, blocks * compiled.lanes * self._mels + compiled.lanes)
        rows = torch.from_numpy(waveform.numpy().reshape(-1, samples))  # refuses what wants a gradient
        for row, result in zip(rows, power.view(-1, power.shape[-1]), strict=True):
            padded[margin : margin + samples] = row
            arrays = (padded, result, memory, compiled.tables)
            compiled.function(*(array.data_ptr() for array in arrays), hop, blocks)
        return power[..., : count * self._mels].view(*leading, count, self._mels)


@lru_cache(maxsize=8)
def mel_spectrum(sample_rate: int, size: int, mels: int) -> MelSpectrum:
    """The transform of frames of `size` samples: periodic Hann window, power 2, Slaney's mel filters."""
    lanes = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8
    return MelSpectrum(size, mel_filters(sample_rate, size, mels), lanes)


def mel_filters(sample_rate: int, size: int, mels: int) -> np.ndarray:
    """Slaney's triangles of equal area from 0 Hz to half the sample rate: float64 (mels, size // 2 + 1)."""
    hertz = mel_edges(sample_rate, mels)[:, None]
    left, middle, right = hertz[:-2], hertz[1:-1], hertz[2:]
    place = np.arange(size // 2 + 1) * sample_rate / size
    rising, falling = (place - left) / (middle - left), (right - place) / (right - middle)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)


def mel_edges(sample_rate: int, mels: int) -> np.ndarray:
    """Where the triangles begin, peak and end: mel i at edges i, i + 1 and i + 2, in Hz: (mels + 2,).

    Slaney's scale is linear up to 1 kHz (15 steps of 200/3 Hz), then logarithmic (27 steps to 6.4 kHz).
    """
    highest = sample_rate / 2
    steps_per_e = 27 / np.log(6.4)
    last = highest * 3 / 200 if highest < 1000 else 15 + np.log(highest / 1000) * steps_per_e
    steps = np.linspace(0, last, mels + 2)
    return np.where(steps < 15, steps * 200 / 3, 1000 * np.exp((steps - 15) / steps_per_e))
