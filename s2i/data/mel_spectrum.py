"""Frames of a waveform -> power in mel bins, fast on one core for any frame length.

An FFT is slow for a length without small factors, such as the published 551 = 19 * 29. Here the discrete
Fourier transform is two dense products of small matrices (Cooley and Tukey's split). For P Q samples, with
n = P q + p and k = k' + Q k",

    exp(-2 pi i n k / (P Q)) = exp(-2 pi i n k' / (P Q)) * exp(-2 pi i p k" / P),

so the first product sums over q and the second over p. Frames are real: half of the k' are enough. The first
product's matrices take the window in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

CHUNK = 320  # frames transformed at once, so that their tables stay in a core's cache
ALIGN = 16  # rows of tables are whole cache lines: 16 float32
GROUPS = 3  # of mels, each multiplied with the part of the spectrum that it covers


@dataclass(frozen=True)
class MelSpectrum:
    """The matrices for one sample rate, frame length and number of mels; made by `mel_spectrum`."""

    first: Tensor  # (P, 2 (Q // 2 + 1), Q): cosines, then negative sines, of each k'
    second: Tensor  # (2 P, 2 P): real, then imaginary parts of each k" from those of each p
    filters: list[tuple[slice, Tensor]]  # of each group of mels: the k" it covers, (mels, k" * k')
    mels: int

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames (..., T, P Q), not windowed yet -> mel power (..., T, M)."""
        power = frames.new_empty(*frames.shape[:-1], self.mels)
        utterances = zip(
            frames.reshape(-1, *frames.shape[-2:]), power.view(-1, *power.shape[-2:]), strict=True
        )
        for samples, found in utterances:
            for part, place in zip(samples.split(CHUNK), found.split(CHUNK), strict=True):
                place.copy_(self._transform(part))
        return power

    def _transform(self, frames: Tensor) -> Tensor:
        """Frames (T, P Q) -> mel power (T, M)."""
        (inner, _, outer), (count, size) = self.first.shape, frames.shape
        width = -(-count // ALIGN) * ALIGN
        # Frames along the rows: then each product is dense, and none needs a copy of the one before it.
        samples = frames.new_empty(size, width)
        samples[:, :count] = frames.T
        samples[:, count:] = 0
        partial = torch.bmm(self.first, samples.view(outer, inner, width).transpose(0, 1))
        real, imaginary = torch.mm(self.second, partial.view(2 * inner, -1)).view(2, inner, -1)
        power = real.square_().addcmul_(imaginary, imaginary)
        mel = [torch.mm(filters, power[rows].view(-1, width)) for rows, filters in self.filters]
        return torch.cat(mel)[:, :count].T


@lru_cache(maxsize=8)
def mel_spectrum(sample_rate: int, size: int, mels: int) -> MelSpectrum:
    """The transform of frames of `size` samples: periodic Hann window, power 2, Slaney's mel filters."""
    inner = max(factor for factor in range(1, int(size**0.5) + 1) if size % factor == 0)  # P
    outer = size // inner  # Q
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    low = np.arange(outer // 2 + 1)  # k'
    sample = inner * np.arange(outer) + np.arange(inner)[:, None, None]
    angle = 2 * np.pi / size * (sample * low[:, None] % size)
    first = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * window[sample]

    high = np.array(
        sorted(range(inner), key=lambda k: min(k, inner - k))
    )  # k", by frequency: 0, 1, -1, 2, ...
    angle = 2 * np.pi / inner * (np.outer(high, np.arange(inner)) % inner)
    cosine, sine = np.cos(angle), np.sin(angle)
    second = np.stack([np.stack([cosine, sine], axis=-1), np.stack([-sine, cosine], axis=-1)])

    place = (low + outer * high[:, None]) % size
    place = np.minimum(place, size - place)  # the spectrum of a real frame is symmetric
    weights = np.zeros((mels, inner, len(low)))
    _, once = np.unique(place, return_index=True)  # some places come twice
    weights.reshape(mels, -1)[:, once] = mel_filters(sample_rate, size, mels)
    groups = []
    for group in np.array_split(weights, min(GROUPS, mels)):
        covered = np.flatnonzero(group.any(axis=(0, 2)))
        part = slice(int(covered.min(initial=0)), int(covered.max(initial=0)) + 1)
        groups.append((part, _tensor(group[:, part].reshape(len(group), -1))))
    return MelSpectrum(_tensor(first), _tensor(second.reshape(2 * inner, -1)), groups, mels)


def mel_filters(sample_rate: int, size: int, mels: int) -> np.ndarray:
    """Slaney's triangles of equal area from 0 Hz to half the sample rate: float64 (mels, size // 2 + 1).

    His scale is linear up to 1 kHz (15 steps of 200/3 Hz), then logarithmic (27 steps to 6.4 kHz).
    """
    highest = sample_rate / 2
    steps_per_e = 27 / np.log(6.4)
    last = highest * 3 / 200 if highest < 1000 else 15 + np.log(highest / 1000) * steps_per_e
    steps = np.linspace(0, last, mels + 2)
    hertz = np.where(steps < 15, steps * 200 / 3, 1000 * np.exp((steps - 15) / steps_per_e))[:, None]
    left, middle, right = hertz[:-2], hertz[1:-1], hertz[2:]
    place = np.arange(size // 2 + 1) * sample_rate / size
    rising, falling = (place - left) / (middle - left), (right - place) / (right - middle)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
