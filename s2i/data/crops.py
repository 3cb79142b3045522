"""Square crops of a pack's images: centre crops to evaluate, random crops and flips to train."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from s2i.data.images import to_tensor
from s2i.data.pack import Pack


def image_batches(pack: Pack, image_size: int, batch_size: int = 256) -> Iterator[torch.Tensor]:
    """Every image of a pack in order, its centre crop: (up to batch_size, 3, S, S) in [-1, 1]."""
    crops = centre_crops(pack, len(pack.records))
    for start in range(0, len(pack.records), batch_size):
        indices = np.arange(start, min(start + batch_size, len(pack.records)))
        yield read_images(pack, indices, crops[indices], image_size)


def read_images(pack: Pack, images: np.ndarray, crops: np.ndarray, image_size: int) -> torch.Tensor:
    """Crops of a pack's images, at `image_size` px: (B, 3, S, S) in [-1, 1].

    Args:
        images: (B,) indices in the pack.
        crops: (B, 3) of top, left (px of the stored image) and flipped (0 or 1); each is as large as the
            pack's images are without their margin, and resized where `image_size` is another.
    """
    cut = torch.from_numpy(cut_images(pack.images, images, crops, pack.packed_size))
    return to_tensor(resized(cut, image_size))


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """uint8 (B, S, S, 3) at `size` px, by an antialiased bicubic filter as PIL's that made the pack."""
    if images.shape[1] == size:
        return images
    channels_first = images.movedim(-1, -3)
    return F.interpolate(channels_first, (size, size), mode="bicubic", antialias=True).movedim(-3, -1)


def cut_images(images: np.ndarray, indices: np.ndarray, crops: np.ndarray, size: int) -> np.ndarray:
    """Crops of the images at `indices`: uint8 (B, size, size, 3).

    `crops`: (B, 3) of top, left (px) and flipped (0 or 1).
    """
    cut = np.empty((len(indices), size, size, 3), dtype=np.uint8)
    for row, (image, (top, left, flipped)) in enumerate(zip(indices, crops, strict=True)):
        crop = images[image, top : top + size, left : left + size]
        cut[row] = crop[:, ::-1] if flipped else crop
    return cut


def random_crops(pack: Pack, random: np.random.Generator, count: int) -> np.ndarray:
    """Anywhere in the margin, each flipped with probability 1/2: (count, 3) of top, left, flipped."""
    positions = pack.side - pack.packed_size + 1
    return np.column_stack([random.integers(positions, size=(count, 2)), random.integers(2, size=count)])


def centre_crops(pack: Pack, count: int) -> np.ndarray:
    """The middle of each image: (count, 3) of top, left, flipped."""
    start = (pack.side - pack.packed_size) // 2
    return np.tile(np.array([start, start, 0], dtype=np.int64), (count, 1))
