"""Frames of a waveform -> power in mel bins, fast on one core for any frame length.

An FFT is slow for a length without small factors, such as the published 551 = 19 * 29. Here the discrete
Fourier transform is two dense products of small matrices (Cooley and Tukey's split). For P Q samples, with
n = P q + p and k = k' + Q k",

    exp(-2 pi i n k / (P Q)) = exp(-2 pi i n k' / (P Q)) * exp(-2 pi i p k" / P),

so the first product sums over q and the second over p. Frames are real: half of the k' are enough. The first
product's matrices take the window in.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

import numpy as np
import torch
from torch import Tensor

CHUNK = 320  # frames transformed at once, at most: their tables (2 MB) stay in a core's cache
ALIGN = 16  # rows of tables are whole cache lines: 16 float32
GROUPS = 3  # of mels, each multiplied with the part of the spectrum that it covers


class MelSpectrum:
    """Mel power for one sample rate, frame length and number of mels; made by `mel_spectrum`."""

    def __init__(self, first: Tensor, second: Tensor, filters: list[tuple[slice, Tensor]]) -> None:
        """Take the matrices.

        Args:
            first: (P, 2 (Q // 2 + 1), Q), cosines, then negative sines, of each k'.
            second: (2 P, 2 P), real, then imaginary parts of each k" from those of each p.
            filters: of each group of mels, in order: the k" that it covers, and (mels, k" * k').
        """
        self._first, self._second, self._filters = first, second, filters
        self._mels = sum(len(matrix) for _, matrix in filters)
        self._tables: dict[int, _Tables] = {}  # kept between calls: fresh memory would cost a fifth more
        self._lock = Lock()

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames (..., T, P Q), not windowed yet -> mel power (..., T, M)."""
        *leading, count, size = frames.shape
        pieces = -(-count // CHUNK)
        width = -(-count // (pieces * ALIGN)) * ALIGN
        power = np.empty((*leading, count, self._mels), np.float32)
        utterances = frames.numpy().reshape(-1, count, size)
        with self._lock:
            if width not in self._tables:
                self._tables[width] = _Tables(width, self._first, self._second, self._filters)
            tables = self._tables[width]
            for utterance, mels in zip(utterances, power.reshape(-1, count, self._mels), strict=True):
                for start in range(0, count, width):
                    tables.transform(utterance[start : start + width], mels[start : start + width])
        return torch.from_numpy(power)


class _Tables:
    """Everything between frames and mels, for up to `width` frames.

    Frames run along the rows: then each product is dense, and none needs a copy of the one before it.
    """

    def __init__(
        self, width: int, first: Tensor, second: Tensor, filters: list[tuple[slice, Tensor]]
    ) -> None:
        inner, rows, outer = first.shape
        samples = torch.zeros(inner * outer, width)
        self.first, self.second = first, second
        self.samples = samples.numpy()
        self.by_residue = samples.view(outer, inner, width).transpose(0, 1)
        self.partial = torch.zeros(inner, rows, width)
        self.partial_rows = self.partial.view(2 * inner, -1)
        self.bins = torch.zeros(2 * inner, rows // 2 * width)
        self.real, self.imaginary = self.bins[:inner], self.bins[inner:]
        power = self.real.view(inner, -1, width)
        mels = [len(matrix) for _, matrix in filters]
        mel = torch.zeros(sum(mels), width)
        self.mel = mel.numpy()
        self.groups = [
            (matrix, power[covered].view(-1, width), bands)
            for (covered, matrix), bands in zip(filters, mel.split(mels), strict=True)
        ]

    def transform(self, frames: np.ndarray, power: np.ndarray) -> None:
        """Frames (T, P Q) -> power (T, M), in place. Beyond T the tables hold an earlier call: unused."""
        count = len(frames)
        np.copyto(self.samples[:, :count], frames.T)
        torch.bmm(self.first, self.by_residue, out=self.partial)
        torch.mm(self.second, self.partial_rows, out=self.bins)
        self.real.square_().addcmul_(self.imaginary, self.imaginary)
        for matrix, spectrum, bands in self.groups:
            torch.mm(matrix, spectrum, out=bands)
        np.copyto(power, self.mel[:, :count].T)


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

    high = np.array(sorted(range(inner), key=lambda k: min(k, inner - k)))  # k": 0, 1, -1, 2, -2, ...
    angle = 2 * np.pi / inner * (np.outer(high, np.arange(inner)) % inner)
    cosine, sine = np.cos(angle), np.sin(angle)
    second = np.stack([np.stack([cosine, sine], axis=-1), np.stack([-sine, cosine], axis=-1)])

    place = (low + outer * high[:, None]) % size
    place = np.minimum(place, size - place)  # the spectrum of a real frame is symmetric
    weights = np.zeros((mels, inner, len(low)))
    _, once = np.unique(place, return_index=True)  # some places come twice
    weights.reshape(mels, -1)[:, once] = mel_filters(sample_rate, size, mels)
    filters = []
    for group in np.array_split(weights, min(GROUPS, mels)):
        reached = np.flatnonzero(group.any(axis=(0, 2)))
        covered = slice(int(reached.min(initial=0)), int(reached.max(initial=0)) + 1)
        filters.append((covered, _tensor(group[:, covered].reshape(len(group), -1))))
    return MelSpectrum(_tensor(first), _tensor(second.reshape(2 * inner, -1)), filters)


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


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
