"""Samples -> power in mel bins, in one pass over L frames at a time, which stay in a core's nearest cache.

Frames lie side by side, one a lane. For frames of P Q samples, with n = P q + p and k = k' + Q k" (Cooley and
Tukey's split),

    exp(2 pi i n k / (P Q)) = exp(2 pi i q k' / Q) exp(2 pi i p k' / (P Q)) exp(2 pi i p k" / P):

transforms of Q samples, one for each p, a turn of each of their results, and transforms of P, one for each
k'. They are the conjugates of Fourier's, whose power is the same. Factors are not split further: the
published frame has 551 = 19 * 29 samples.

A transform of n samples multiplies its even half, x_j + x_(n-j), by cosines and its odd half, x_j - x_(n-j),
by sines, half as many products as without. Samples are real: half of the k' are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from s2i.data.vector_code import Array, Rows, Vector, VectorCode, Whole


@dataclass(frozen=True)
class MelPass:
    """The compiled pass, and what it needs.

    Attributes:
        function: called with the addresses of a waveform, of its result (T, M) and L numbers more, T a
            multiple of L, of `memory` numbers to work in, and of `tables`; then with the hop and T / L.
        tables: float32, one dimension.
        memory: float32 numbers.
        reach: samples of the waveform that it reads from the beginning of each frame.
        lanes: L.
    """

    function: Callable[..., None]
    tables: Tensor
    memory: int
    reach: int
    lanes: int


def compile_mel_pass(size: int, filters: np.ndarray, lanes: int) -> MelPass:
    """The pass over frames of `size` samples: periodic Hann window, power 2, `filters` (M, size // 2 + 1).

    Args:
        lanes: L, 16 where vectors are of 512 bits, else 8. What comes out is the same.
    """
    writer = _Writer(size, filters, lanes)
    writer.write()
    tables = torch.from_numpy(np.concatenate(writer.tables.arrays))
    return MelPass(writer.code.compile(), tables, writer.memory.numbers, writer.reach, lanes)


class _Tables:
    """Constants of the function, in one array."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.arrays: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> Array:
        offset = sum(map(len, self.arrays))
        self.arrays.append(np.asarray(values, np.float32).ravel())
        return self.array.at(offset)


class _Memory:
    """What the function keeps between its steps, in one array."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.numbers = 0

    def rows(self, count: int) -> Array:
        offset = self.numbers
        self.numbers += count * self.array.code.lanes
        return self.array.at(offset)


class _Transform:
    """sum over j of x_j cos(2 pi j k / n), and with sines, for k = 0 to n // 2."""

    def __init__(self, code: VectorCode, tables: _Tables, memory: _Memory, samples: int) -> None:
        self.code, self.samples = code, samples
        self.results, self.odd_terms = samples // 2 + 1, (samples - 1) // 2
        # Sums made at once: with a sample and a constant they fit the registers, 32 of 512 bits, else 16.
        most = 15 if code.lanes == 16 else 10
        self.passes = -(-self.results // most)
        self.at_once = -(-self.results // self.passes)
        angles = 2 * np.pi / samples * np.outer(np.arange(self.results), np.arange(self.results))
        self.cosines = tables.add(self._in_passes(np.cos(angles)))
        self.sines = tables.add(self._in_passes(np.sin(angles)[1 : self.odd_terms + 1]))
        self.even = memory.rows(self.results)
        self.odd = memory.rows(self.odd_terms)

    @property
    def rows(self) -> int:
        """Of a result: the last pass may make some in excess."""
        return self.passes * self.at_once

    def _in_passes(self, matrix: np.ndarray) -> np.ndarray:
        wide = np.pad(matrix, ((0, 0), (0, self.rows - self.results)))
        return wide.reshape(len(matrix), self.passes, self.at_once).swapaxes(0, 1)

    def write(self, samples: Rows, by_cosine: Array, by_sine: Array) -> None:
        even, odd = self.even.rows(), self.odd.rows()
        even[0] = samples[0]
        if self.samples % 2 == 0:
            even[self.results - 1] = samples[self.results - 1]
        if self.odd_terms:
            with self.code.loop(self.odd_terms) as term:
                left, right = samples[term + 1], samples[self.code.whole(self.samples - 1) - term]
                even[term + 1], odd[term] = left + right, left - right
        self._multiply(self.cosines, self.results, even, by_cosine)
        self._multiply(self.sines, self.odd_terms, odd, by_sine)

    def _multiply(self, table: Array, terms: int, samples: Rows, result: Array) -> None:
        with self.code.loop(self.passes) as turn:
            weights = table.at(turn * (terms * self.at_once))
            sums = [self.code.zero()] * self.at_once
            if terms:
                with self.code.loop(terms, sums) as term:
                    sample, row = samples[term], weights.at(term * self.at_once)
                    sums[:] = [
                        each.plus_product(sample, row.at(place).everywhere())
                        for place, each in enumerate(sums)
                    ]
            rows = result.at(turn * (self.at_once * self.code.lanes)).rows()
            for place, each in enumerate(sums):
                rows[place] = each


class _Writer:
    """Writes the pass, step by step."""

    def __init__(self, size: int, filters: np.ndarray, lanes: int) -> None:
        self.size, self.mels, self.lanes = size, len(filters), lanes
        self.code = code = VectorCode(lanes, arrays=4, wholes=2)
        self.waveform, self.power, memory, tables = code.arrays
        self.hop, self.blocks = code.wholes
        self.memory, self.tables = _Memory(memory), _Tables(tables)
        self.inner = max(factor for factor in range(1, int(size**0.5) + 1) if size % factor == 0)  # P
        self.outer = size // self.inner  # Q
        self.tiles, self.mel_tiles = -(-size // lanes), -(-self.mels // lanes)
        self.reach = self.tiles * lanes

        self._add_filters(filters)  # first: their places are whole numbers, which float32 has up to 2**24
        window = np.zeros(self.reach)
        window[:size] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        self.window = self.tables.add(window)
        self.by_outer = _Transform(code, self.tables, self.memory, self.outer)
        self.by_inner = _Transform(code, self.tables, self.memory, self.inner)
        turns = 2 * np.pi / size * np.outer(np.arange(self.inner), np.arange(self.by_outer.results))
        self.turns = self.tables.add(np.stack([np.cos(turns), np.sin(turns)], axis=-1))

        self.samples = self.memory.rows(self.reach)
        self.cosine, self.sine = (self.memory.rows(self.by_outer.rows) for _ in range(2))
        self.half = self.inner * self.by_outer.results
        self.partial = self.memory.rows(2 * self.half)  # real parts, then imaginary ones
        self.sums = self.memory.rows(4 * self.by_inner.rows)  # of either by cosines, then by sines
        self.bins = self.memory.rows(size // 2 + 1)
        self.bands = self.memory.rows(self.mel_tiles * lanes)

    def _add_filters(self, filters: np.ndarray) -> None:
        """Of each filter: its first bin, how many bins it covers, and where their weights are."""
        facts, weights = [], []
        for row in filters:
            reached = np.flatnonzero(row)
            first, stop = (reached[0], reached[-1] + 1) if len(reached) else (0, 1)
            facts.append((first, stop - first, sum(map(len, weights))))
            weights.append(row[first:stop])
        self.filters = self.tables.add(np.array(facts))
        self.weights = self.tables.add(np.concatenate(weights))

    def write(self) -> None:
        with self.code.loop(self.blocks) as block:
            self._window(self.waveform.at(block * (self.hop * self.lanes)))
            with self.code.loop(self.inner) as p:
                self._transform_outer(p)
            with self.code.loop(self.by_outer.results) as low:
                self._transform_inner(low)
            with self.code.loop(self.mels) as mel:
                self._sum_band(mel)
            self._put(self.power.at(block * (self.lanes * self.mels)))

    def _window(self, frames: Array) -> None:
        """L frames, times the window, each in a lane."""
        with self.code.loop(self.tiles) as tile:
            start = tile * self.lanes
            window = self.window.at(start).vector()
            pieces = [frames.at(self.hop * lane + start).vector() * window for lane in range(self.lanes)]
            samples = self.samples.at(start * self.lanes).rows()
            for place, vector in enumerate(self.code.transposed(pieces)):
                samples[place] = vector

    def _transform_outer(self, p: Whole) -> None:
        """The samples n = P q + p of each frame -> what the transform over p needs of them, for each k'."""
        samples = self.samples.at(p * self.lanes).rows(self.inner)
        self.by_outer.write(samples, self.cosine, self.sine)
        cosine, sine = self.cosine.rows(), self.sine.rows()
        with self.code.loop(self.by_outer.results) as low:
            place = p * self.by_outer.results + low
            turn = self.turns.at(place * 2)
            across, up = turn.everywhere(), turn.at(1).everywhere()
            partial = self.partial.rows()
            partial[place] = cosine[low] * across - sine[low] * up
            partial[place + self.half] = (cosine[low] * up).plus_product(sine[low], across)

    def _transform_inner(self, low: Whole) -> None:
        """One k' -> the power at k = k' + Q k", and at its mirror image, for each k"."""
        rows = self.by_inner.rows
        with self.code.loop(2) as part:
            samples = self.partial.at((part * self.half + low) * self.lanes).rows(self.by_outer.results)
            by_cosine = self.sums.at(part * (2 * rows * self.lanes))
            self.by_inner.write(samples, by_cosine, by_cosine.at(rows * self.lanes))
        sums = self.sums.rows()
        with self.code.loop(self.by_inner.results) as high:
            real_cosine, real_sine, imaginary_cosine, imaginary_sine = (
                sums[high + place * rows] for place in range(4)
            )
            upper = _power(real_cosine - imaginary_sine, real_sine + imaginary_cosine)
            lower = _power(real_cosine + imaginary_sine, imaginary_cosine - real_sine)  # of -k"
            middle = high * self.outer
            self.bins.rows()[self._mirrored(middle + low)] = upper
            self.bins.rows()[self._mirrored((middle - low).size())] = lower

    def _mirrored(self, place: Whole) -> Whole:
        return place.smaller(self.code.whole(self.size) - place)

    def _sum_band(self, mel: Whole) -> None:
        first, count, start = (self.filters.at(mel * 3 + fact).whole() for fact in range(3))
        weights, bins = self.weights.at(start), self.bins.at(first * self.lanes).rows()
        sums = [self.code.zero()]
        with self.code.loop(count, sums) as place:
            sums[0] = sums[0].plus_product(bins[place], weights.at(place).everywhere())
        self.bands.rows()[mel] = sums[0]

    def _put(self, power: Array) -> None:
        """The bands of L frames, frame after frame.

        The last tile of a frame's mels may reach into the next frame: tiles go from the last to the first,
        blocks from the first to the last, so that what belongs there is written later.
        """
        last = self.code.whole(self.mel_tiles - 1)
        with self.code.loop(self.mel_tiles) as turn:
            start = (last - turn) * self.lanes
            bands = self.bands.at(start * self.lanes).rows()
            vectors = self.code.transposed([bands[lane] for lane in range(self.lanes)])
            for frame, vector in enumerate(vectors):
                power.at(start + frame * self.mels).put(vector)


def _power(real: Vector, imaginary: Vector) -> Vector:
    return (imaginary * imaginary).plus_product(real, real)
