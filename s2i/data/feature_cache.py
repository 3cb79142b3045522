"""Features of a frozen image network of crops of a pack's images, extracted once and kept beside them.

    <data.pack>/<split>/feature-cache-<key>/
      pooled.npy    float16 (crops, images, channels)
      regions.npy   float16 (crops, images, channels, regions), where a training compares regions

Crop 0 is an image's centre crop; each further one is random, with a random flip. The key is a digest of all
that the features depend on. A pack that is built again loses its caches with its folder.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2i.data.crops import centre_crops, random_crops, read_images
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.unfinished import PART, discard, lasting_part, lasting_part_folder, sweep
from s2i.processes import in_order
from s2i.progress import progress

_BATCH = 4  # images in a batch: on one core twice as fast as 32, whose maps outgrow the cache
_ARRAYS = ("pooled.npy", "regions.npy")
_ROWS = "rows.txt"  # in an unfinished folder: how many rows, crop by crop and image by image, it holds
_ROWS_A_FLUSH = 256  # some 5 s on one core: what a kill costs
_BATCHES_A_JOB = 16  # for a process of several
_FORMAT = 2  # to be raised when the same key is to give other numbers

ExtractFeatures = Callable[[Tensor], tuple[Tensor, Tensor]]  # (B, 3, S, S) -> (B, G), (B, C, R)


class FeatureCache:
    """The cache of one split, opened for reading. `crops`: how many of each image."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError for files that are cut short."""
        self.folder = folder
        try:
            self._pooled = np.load(folder / "pooled.npy", mmap_mode="r")
            path = folder / "regions.npy"
            self._regions = np.load(path, mmap_mode="r") if path.is_file() else None
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"expected whole arrays in {folder}, found {' '.join(str(error).split())}: delete the folder"
            ) from error
        self.crops = len(self._pooled)

    def __reduce__(self) -> tuple:
        return FeatureCache, (self.folder,)

    def read(self, images: np.ndarray, crops: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Pooled vectors (B, G) and regions (B, C, R), float32, of one crop of each image.

        `images`, `crops`: (B,) int64, indices in the pack and in an image's crops."""
        pooled = torch.from_numpy(self._pooled[crops, images]).float()
        if self._regions is None:
            return pooled, None
        return pooled, torch.from_numpy(self._regions[crops, images]).float()

    def centre_crops(self) -> Tensor:
        """Pooled vectors of the centre crop of every image: (images, G) float32."""
        return torch.from_numpy(self._pooled[0].astype(np.float32))


def feature_cache_folder(pack: Pack, identity: Iterable[object]) -> Path:
    """The folder of the cache with this `identity`: the network, its weights, the number of crops."""
    key = [_FORMAT, pack.fingerprint, *identity]
    return pack.folder / f"feature-cache-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"


def write_feature_cache(
    folder: Path, pack: Pack, crops: int, extract: ExtractFeatures, regions: bool, processes: int = 1
) -> None:
    """Extract features of crops of a pack's images; `folder` appears when it is complete.

    They are written as they are extracted, so that memory use stays flat, and a call that was killed is
    continued. Unfinished caches with another key are removed.

    Args:
        crops: of each image, the centre crop among them.
        extract: the network, on images at the pack's size.
        regions: keep features of regions too.
        processes: that extract; `extract` is then sent to them.
    """
    for unfinished in folder.parent.glob(f".feature-cache-{'[0-9a-f]' * 16}{PART}"):
        if unfinished != lasting_part(folder):
            discard(unfinished)
    with lasting_part_folder(folder) as building:
        sweep(building)
        _extract_all(building, pack, crops, extract, regions, processes)
        try:
            os.replace(building, folder)
            (folder / _ROWS).unlink()
        except OSError:
            if not folder.is_dir():  # else another process has made the same meanwhile
                raise


def _extract_all(
    building: Path, pack: Pack, count: int, extract: ExtractFeatures, regions: bool, processes: int
) -> None:
    """Write the arrays into a folder, continuing after the last row that is known to be written."""
    total = len(pack.records)
    crops = [centre_crops(pack, total)]
    # A crop depends on its number alone, so caches with fewer crops hold the first of these.
    crops += [random_crops(pack, np.random.default_rng(number), total) for number in range(1, count)]
    batches = [(number, start) for number in range(count) for start in range(0, total, _BATCH)]
    rows = _read_rows(building)
    remaining = [(number, start) for number, start in batches if number * total + start >= rows]
    label = f"features of {total} images of {pack.folder}"
    batches_a_job = 1 if processes == 1 else _BATCHES_A_JOB

    def jobs() -> Iterator[tuple]:
        for first in range(0, len(remaining), batches_a_job):
            cuts = []
            for number, start in remaining[first : first + batches_a_job]:
                indices = np.arange(start, min(start + _BATCH, total))
                cuts.append((indices, crops[number][indices]))
            yield extract, pack, cuts, regions

    done = (values for job in in_order(_extract_batches, jobs(), processes) for values in job)
    with ExitStack() as stack:
        arrays: list[GrowingArray] = []
        for values in progress(done, len(batches), label, start=len(batches) - len(remaining)):
            if not arrays:
                arrays = [
                    stack.enter_context(GrowingArray(building / name, (count, total, *value.shape[1:]), rows))
                    for name, value in values.items()
                ]
            for array, value in zip(arrays, values.values(), strict=True):
                array.append(value)
            rows += len(value)
            if rows % _ROWS_A_FLUSH < _BATCH or rows == count * total:
                for array in arrays:
                    array.flush()
                _write_rows(building, rows)


def _extract_batches(
    extract: ExtractFeatures, pack: Pack, cuts: Sequence[tuple[np.ndarray, np.ndarray]], regions: bool
) -> list[dict[str, np.ndarray]]:
    """{array: its rows} of each batch. `cuts`: images, indices in the pack, and what is cut out of each."""
    batches = []
    for indices, crops in cuts:
        with torch.inference_mode():
            features = extract(read_images(pack, indices, crops, pack.packed_size))
        kept = dict(zip(_ARRAYS, features, strict=True)) if regions else {_ARRAYS[0]: features[0]}
        batches.append({name: value.cpu().to(torch.float16).numpy() for name, value in kept.items()})
    return batches


class GrowingArray:
    """A float16 .npy file of a known shape, (A, B, ...), written row after row of A times B."""

    def __init__(self, path: Path, shape: tuple[int, ...], rows: int) -> None:
        """`rows`: that stay of a file that is there; what follows them is cut off."""
        header = BytesIO()
        description = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(header, {**description, "shape": shape})
        self._stream = path.open("r+b" if rows else "wb")
        self._stream.write(header.getvalue())
        self._stream.truncate(header.tell() + rows * math.prod(shape[2:]) * np.float16().itemsize)
        self._stream.seek(0, os.SEEK_END)

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def append(self, values: np.ndarray) -> None:
        """Write some rows: (R, ...)."""
        self._stream.write(values.tobytes())

    def flush(self) -> None:
        """Wait until all rows are on the disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())


def _read_rows(building: Path) -> int:
    """How many rows are known to be on the disk."""
    try:
        return int((building / _ROWS).read_text())
    except (OSError, ValueError):
        return 0


def _write_rows(building: Path, rows: int) -> None:
    with write_atomically(building / _ROWS) as stream:
        stream.write(str(rows))
