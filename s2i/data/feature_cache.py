"""What a frozen image network sees in the images of a pack, worked out once and kept beside them.

    <data.pack>/<split>/feature-cache-<key>/
      pooled.npy    float16 (views, images, channels)
      regions.npy   float16 (views, images, channels, regions), where a training compares regions

View 0 is an image's centre crop; each further one is a crop and flip of its own. The key is a digest of all
that the numbers depend on, and a pack that is made anew loses its views with its folder.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2i.data.dataset import centre_crops, random_crops, read_images
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.files.atomic import write_atomically
from s2i.files.unfinished import PART, discard, lasting_part, lasting_part_folder, sweep
from s2i.progress import progress

_BATCH = 4  # images looked at together: on one core twice as fast as 32, whose maps outgrow the cache
_ARRAYS = ("pooled.npy", "regions.npy")
_ROWS = "rows.txt"  # in an unfinished folder: how many rows, view by view and image by image, it holds
_ROWS_A_FLUSH = 256  # some 5 s on one core: what a kill costs
_FORMAT = 2  # to be raised when the same key is to give other numbers

Look = Callable[[Tensor], tuple[Tensor, Tensor]]  # (B, 3, S, S) -> (B, G), (B, C, R)


class FeatureCache:
    """The views of one split, opened for reading. `count`: views of each image."""

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
        self.count = len(self._pooled)

    def __reduce__(self) -> tuple:
        return FeatureCache, (self.folder,)

    def read(self, images: np.ndarray, cached_crops: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Pooled vectors (B, G) and regions (B, C, R), float32, of one view of each image: (B,), (B,)."""
        pooled = torch.from_numpy(self._pooled[cached_crops, images]).float()
        if self._regions is None:
            return pooled, None
        return pooled, torch.from_numpy(self._regions[cached_crops, images]).float()

    def first(self) -> Tensor:
        """Pooled vectors of view 0 of every image: (images, G) float32."""
        return torch.from_numpy(self._pooled[0].astype(np.float32))


def feature_cache_folder(pack: Pack, told: Iterable[object]) -> Path:
    """Where the views lie that `told` describes: network, its weights, how many."""
    made_of = [_FORMAT, pack.fingerprint, *told]
    return pack.folder / f"feature-cache-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"


def write_feature_cache(folder: Path, pack: Pack, count: int, look: Look, regions: bool) -> None:
    """Make the views of a pack's images; `folder` appears when it is whole.

    They go to the disk as they are made, so that memory stays flat, and a killed call's are gone on from.
    What killed calls have left of other views is removed.

    Args:
        count: views of each image.
        look: the network, on images at the pack's size.
        regions: keep maps of regions too.
    """
    for left in folder.parent.glob(f".feature-cache-{'[0-9a-f]' * 16}{PART}"):
        if left != lasting_part(folder):
            discard(left)
    with lasting_part_folder(folder) as made:
        sweep(made)
        _look_at_all(made, pack, count, look, regions)
        try:
            os.replace(made, folder)
            (folder / _ROWS).unlink()
        except OSError:
            if not folder.is_dir():  # else another process has made the same meanwhile
                raise


def _look_at_all(made: Path, pack: Pack, count: int, look: Look, regions: bool) -> None:
    """Write the arrays into a folder, from the row on that a killed call has come to."""
    total = len(pack.records)
    crops = [centre_crops(pack, total)]
    # The same in every training, and in a pack of fewer views.
    crops += [random_crops(pack, np.random.default_rng(view), total) for view in range(1, count)]
    batches = [(view, start) for view in range(count) for start in range(0, total, _BATCH)]
    rows = _read_rows(made)
    left = [(view, start) for view, start in batches if view * total + start >= rows]
    label = f"looking at {total} images of {pack.folder}"
    with ExitStack() as stack:
        arrays: list[GrowingArray] = []
        for view, start in progress(left, len(batches), label, start=len(batches) - len(left)):
            part = np.arange(start, min(start + _BATCH, total))
            with torch.inference_mode():
                found = look(read_images(pack, part, crops[view][part], pack.image_size))
            seen = dict(zip(_ARRAYS, found, strict=True)) if regions else {_ARRAYS[0]: found[0]}
            values = {name: value.cpu().to(torch.float16).numpy() for name, value in seen.items()}
            if not arrays:
                arrays = [
                    stack.enter_context(GrowingArray(made / name, (count, total, *value.shape[1:]), rows))
                    for name, value in values.items()
                ]
            for array, value in zip(arrays, values.values(), strict=True):
                array.append(value)
            rows += len(part)
            if rows % _ROWS_A_FLUSH < _BATCH or rows == count * total:
                for array in arrays:
                    array.flush()
                _write_rows(made, rows)


class GrowingArray:
    """A float16 .npy file of a known shape, (A, B, ...), written row after row of A times B."""

    def __init__(self, path: Path, shape: tuple[int, ...], rows: int) -> None:
        """`rows`: that stay of a file that is there; what follows them is cut off."""
        header = BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(header, {**described, "shape": shape})
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


def _read_rows(made: Path) -> int:
    """How many rows are known to be on the disk."""
    try:
        return int((made / _ROWS).read_text())
    except (OSError, ValueError):
        return 0


def _write_rows(made: Path, rows: int) -> None:
    with write_atomically(made / _ROWS) as stream:
        stream.write(str(rows))
