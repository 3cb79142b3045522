"""Memorisation: generated images against the training images nearest to them.

Distances are of pixels: root mean square difference of images averaged down to 16 px, values in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2i.data.crops import centre_crops, read_images
from s2i.data.images import to_uint8
from s2i.data.pack import Pack
from s2i.evaluation.extractors import FEATURES, PIXEL_SIDE
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.metric_networks import PIXELS
from s2i.metrics.statistics import weighted_mean

DUPLICATE = 1 / 3  # of the distance to the second nearest: nearer is a duplicate (Yoon et al. 2023)
ROUNDING = 1e-4  # below the distance of any two images of 8 bits that aren't the same

PROCEDURE = (
    "Each generated caption's image (last stage, 8-bit) is compared with every training image (centre crop,"
    " and mirrored): root mean square difference at 16 px. An image is a duplicate where its nearest training"
    " image is at most a third as far as the second nearest (another image). real: the same of the split's"
    " real images, which training never saw. nearest_distance: mean distance to the nearest. Intervals: t"
    " over classes."
)


@dataclass(frozen=True)
class Neighbour:
    """A generated image and the training image nearest to it: uint8 (S, S, 3) each."""

    caption: int
    generated: np.ndarray
    nearest: np.ndarray
    distance: float
    class_name: str


@dataclass(frozen=True)
class Memorisation:
    """`numbers`: for results.json; `neighbours`: for the report."""

    numbers: dict[str, Any]
    neighbours: list[Neighbour] = field(default_factory=list)


def request_memorisation(bank: FeatureBank, examples: np.ndarray) -> None:
    """Have what `measure_memorisation` needs made in the one pass that generates."""
    if _training_pack(bank).is_dir():
        bank.request(PIXELS)
        bank.keep(examples)


def measure_memorisation(bank: FeatureBank, examples: np.ndarray) -> Memorisation | None:
    """Find the nearest training image of every generated caption's image.

    Args:
        examples: captions, rising indices in the pack, whose neighbours are wanted as images.

    Returns:
        None where the training pack isn't at hand.
    """
    if not _training_pack(bank).is_dir():
        return None
    training, size = Pack(_training_pack(bank)), bank.path.config.generated_size
    pixels = torch.from_numpy(np.array(bank.real(PIXELS, "train")[FEATURES]))
    mirrored = pixels.view(-1, 3, PIXEL_SIDE, PIXEL_SIDE).flip(3).flatten(1)
    candidates = torch.cat([pixels, mirrored])
    generated = torch.from_numpy(np.array(bank.generated(PIXELS)[FEATURES]))
    real = torch.from_numpy(np.array(bank.real(PIXELS)[FEATURES]))
    first, second, row = nearest_two(generated, candidates, len(training.records))
    real_first, real_second, _ = nearest_two(real, candidates, len(training.records))
    rate = weighted_mean(is_duplicate(first, second), bank.captions.labels(bank.captions.generated))
    real_rate = weighted_mean(is_duplicate(real_first, real_second), bank.pack.labels)
    numbers = {
        "duplicate_rate": rate.value,
        "interval95": list(rate.interval95 or ()),
        "nearest_distance": float(first.mean()),
        "real": {"duplicate_rate": real_rate.value, "nearest_distance": float(real_first.mean())},
        "counts": {"generated": len(generated), "training": len(training.records), "real": len(real)},
    }
    neighbours, outputs = [], bank.outputs(examples)
    for caption in examples.tolist():
        place = int(np.searchsorted(bank.captions.generated, caption))
        image = int(row[place]) % len(training.records)
        crop = to_uint8(read_images(training, np.array([image]), centre_crops(training, 1), size))[0]
        crop = crop[:, ::-1] if row[place] >= len(training.records) else crop
        generated_image, name = to_uint8(outputs[caption].images[-1]), training.records[image].class_name
        neighbours.append(Neighbour(caption, generated_image, crop, float(first[place]), name))
    return Memorisation(numbers, neighbours)


def nearest_two(
    queries: Tensor, candidates: Tensor, images: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances to the nearest candidate and to the nearest of all other images, and the nearest's row.

    Args:
        queries: (N, F); candidates: (2 * images, F), images as they are, then mirrored.

    Returns:
        (N,) each. The second distance is infinite where there is one image alone.
    """
    nearest = []
    candidates = candidates.double()  # cdist squares and subtracts: in float32 a duplicate's distance isn't 0
    for batch in queries.double().split(256):
        distances = torch.cdist(batch, candidates) / candidates.shape[1] ** 0.5
        row = distances.argmin(1)
        first = distances.gather(1, row[:, None])[:, 0]
        same_image = torch.stack([row % images, row % images + images], 1)
        second = distances.scatter(1, same_image, torch.inf).min(1).values
        nearest.append((first, second, row))
    first, second, row = (torch.cat(batches).cpu().numpy() for batches in zip(*nearest, strict=True))
    return first, second, row


def is_duplicate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether images at these distances from their two nearest training images are duplicates: (N,) bool."""
    return first <= DUPLICATE * second + ROUNDING


def _training_pack(bank: FeatureBank) -> Path:
    return Path(bank.path.config.data.pack) / "train"
