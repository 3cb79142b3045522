"""What a frozen image network sees in the pictures of a pack, worked out once and kept beside them.

    <data.pack>/<split>/views-<key>/
      pooled.npy    float16 (views, pictures, channels)
      regions.npy   float16 (views, pictures, channels, regions), where a training compares regions

View 0 is a picture's centre crop; each further one is a crop and flip of its own. The key is a digest of all
that the numbers depend on, and a pack that is made anew loses its views with its folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2i.data.dataset import centre_crops, random_crops, read_pictures
from s2i.data.pack import Pack, write_array
from s2i.errors import InputError
from s2i.progress import progress

_BATCH = 4  # pictures looked at together: on one core twice as fast as 32, whose maps outgrow the cache
_FORMAT = 2  # to be raised when the same key is to give other numbers

Look = Callable[[Tensor], tuple[Tensor, Tensor]]  # (B, 3, S, S) -> (B, G), (B, C, R)


class Views:
    """The views of one split, opened for reading. `count`: views of each picture."""

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
        return Views, (self.folder,)

    def read(self, pictures: np.ndarray, views: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Pooled vectors (B, G) and regions (B, C, R), float32, of one view of each picture: (B,), (B,)."""
        pooled = torch.from_numpy(self._pooled[views, pictures]).float()
        if self._regions is None:
            return pooled, None
        return pooled, torch.from_numpy(self._regions[views, pictures]).float()

    def first(self) -> Tensor:
        """Pooled vectors of view 0 of every picture: (pictures, G) float32."""
        return torch.from_numpy(self._pooled[0].astype(np.float32))


def views_folder(pack: Pack, told: Iterable[object]) -> Path:
    """Where the views lie that `told` describes: network, its weights, how many."""
    made_of = [_FORMAT, pack.fingerprint, *told]
    return pack.folder / f"views-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"


def write_views(folder: Path, pack: Pack, count: int, look: Look, regions: bool) -> None:
    """Make the views of a pack's pictures; `folder` appears when it is whole.

    Args:
        count: views of each picture.
        look: the network, on pictures at the pack's size.
        regions: keep maps of regions too.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    pooled: list[np.ndarray] = []  # of all pictures: they are few numbers, unlike the regions
    try:
        looks = _look_at_all(pack, count, look, pooled)
        first = next(looks)
        if regions:
            shape = (count, len(pack.pictures), *first.shape[1:])
            write_array(temporary / "regions.npy", np.float16, shape, chain([first], looks))
        else:
            for _ in looks:
                pass
        vectors = np.concatenate(pooled)
        shape = (count, len(pack.pictures), vectors.shape[1])
        write_array(temporary / "pooled.npy", np.float16, shape, [vectors])
        try:
            os.replace(temporary, folder)
        except OSError:
            if not folder.is_dir():  # else another process has made the same meanwhile
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _look_at_all(pack: Pack, count: int, look: Look, pooled: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Regions of each view of each picture, batch by batch; the pooled vectors are appended to `pooled`."""
    total = len(pack.pictures)
    starts = range(0, total, _BATCH)
    crops = [centre_crops(pack, total)]
    # The same in every training, and in a pack of fewer views.
    crops += [random_crops(pack, np.random.default_rng(view), total) for view in range(1, count)]
    batches = ((view, start) for view in range(count) for start in starts)
    label = f"looking at {total} pictures of {pack.folder}"
    for view, start in progress(batches, count * len(starts), label):
        part = np.arange(start, min(start + _BATCH, total))
        with torch.inference_mode():
            vectors, regions = look(read_pictures(pack, part, crops[view][part], pack.image_size))
        pooled.append(vectors.cpu().to(torch.float16).numpy())
        yield regions.cpu().to(torch.float16).numpy()
