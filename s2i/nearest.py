"""Exact nearest neighbours among many unit vectors on disk, by reading a small part of each.

    <folder>/vectors.npy   float32 (N, D), of length 1
    <folder>/heads.npy     float32 (N, H + 1): a vector's part in the H directions that hold most of all
                           vectors, and the length of what is left of it
    <folder>/basis.npy     float32 (D, H): these directions, orthonormal

With v = (head, rest) in the rotated basis, <q, v> <= <q_head, v_head> + |q_rest| |v_rest| (Cauchy and
Schwarz), one product of (N, H + 1) by H + 1 numbers. A vector is read whole only if this bound reaches the
k-th best cosine found so far. The result is that of comparing all; how few are read depends on how well H
directions hold them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from s2i.errors import InputError

HEAD = 64  # directions; fewer where vectors have fewer numbers
ROUNDING = 1e-5  # of a bound: it may not miss a neighbour by a rounding error
ROWS = 65536  # vectors read together while a table is made


class VectorTable:
    """Unit vectors opened for reading; memory-mapped, so that opening costs nothing."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError for files that are missing or cut short."""
        try:
            self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
            heads = np.load(folder / "heads.npy", mmap_mode="c")  # private: torch warns of what is read-only
            self._basis = np.load(folder / "basis.npy")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"expected whole arrays in {folder}, found {' '.join(str(error).split())}:"
                " run s2i index again"
            ) from error
        self._heads = torch.from_numpy(heads)

    def __len__(self) -> int:
        return len(self.vectors)

    def nearest(self, vector: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """The `top` vectors of largest cosine, best first; equals in their order.

        Args:
            vector: (D,), of length 1.

        Returns:
            their places (K,) int64 and cosines (K,) float32, K the lesser of `top` and all.
        """
        top = min(top, len(self))
        vector = np.asarray(vector, np.float32)
        head = vector @ self._basis
        rest = np.sqrt(max(0.0, float(vector @ vector - head @ head)))
        bounds = self._heads @ torch.from_numpy(np.append(head, np.float32(rest)))
        first = bounds.topk(min(4 * top + 64, len(self))).indices.numpy()
        least = np.partition(self._cosines(first, vector), -top)[-top]
        places = torch.nonzero(bounds >= float(least) - ROUNDING)[:, 0].numpy()
        cosines = self._cosines(places, vector)
        order = np.lexsort((places, -cosines.round(6)))[:top]  # equal vectors differ by rounding
        return places[order], cosines[order]

    def _cosines(self, places: np.ndarray, vector: np.ndarray) -> np.ndarray:
        if 4 * len(places) > len(self):  # reading all in order is the faster way then
            return np.asarray(self.vectors @ vector)[places]
        return self.vectors[np.sort(places)].dot(vector)[np.argsort(np.argsort(places))]


def write_table(folder: Path) -> None:
    """Make `heads.npy` and `basis.npy` beside the `vectors.npy` that lies in `folder`."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    width = vectors.shape[1]
    moments = np.zeros((width, width))
    for start in range(0, len(vectors), ROWS):
        part = vectors[start : start + ROWS]
        moments += part.T @ part
    basis = np.linalg.eigh(moments)[1][:, ::-1][:, : min(HEAD, width)].astype(np.float32)
    heads = np.lib.format.open_memmap(
        folder / "heads.npy", "w+", np.float32, (len(vectors), basis.shape[1] + 1)
    )
    for start in range(0, len(vectors), ROWS):
        part = vectors[start : start + ROWS]
        inside = part @ basis
        left = np.square(part).sum(1) - np.square(inside).sum(1)
        heads[start : start + ROWS] = np.column_stack([inside, np.sqrt(left.clip(min=0))])
    heads.flush()
    np.save(folder / "basis.npy", basis)
