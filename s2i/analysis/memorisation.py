"""Is it memory, is it one image: generated images against training images, and against each other.

Distances are of pixels: root mean square difference of images averaged down to 16 px, values in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.data.crops import centre_crops, image_batches, read_images
from s2i.data.images import to_tensor, to_uint8
from s2i.data.pack import Pack
from s2i.evaluation.subject import Subject, caption_key
from s2i.metrics.statistics import weighted_mean

SIDE = 16  # px of what is compared
COPY = 1 / 3  # of the distance to the second nearest: nearer is a copy (Yoon et al. 2023)
SAME = 1e-4  # nearer than any two images of 8 bits that aren't the same
SPREAD_CAPTIONS, OUTPUTS = 40, 8  # captions that are resampled, and how often

PROCEDURES = {
    "duplicates": (
        "Each generated caption's image (last stage, 8-bit) is compared with every training image (centre"
        " crop, and mirrored): root mean square difference at 16 px. An image is a duplicate where its"
        " nearest training image is at most a third as far as the second nearest (another image). real:"
        " the same of the split's real images, which training never saw. nearest: mean distance to the"
        " nearest. Intervals: t over classes."
    ),
    "diversity": (
        f"{SPREAD_CAPTIONS} captions at most, spread over the generated ones, are generated {OUTPUTS}"
        f" times each"
        " from noise of their own. within: mean root mean square difference, at 16 px, of two images of one"
        " caption; between: of two images of different captions; real: of two real images of one class."
        " ratio: within over between; 0 where a caption has one image. Intervals: t over captions."
    ),
}


@dataclass(frozen=True)
class Neighbour:
    """A generated image and the training image nearest to it: uint8 (S, S, 3) each."""

    caption: int
    generated: np.ndarray
    nearest: np.ndarray
    distance: float
    name: str


@dataclass(frozen=True)
class Memory:
    """`numbers`: for results.json; `neighbours`: for the report."""

    numbers: dict[str, Any]
    neighbours: list[Neighbour] = field(default_factory=list)


@dataclass(frozen=True)
class Diversity:
    """`numbers`: for results.json; `rows`: {caption index in the pack: uint8 (generated images, S, S, 3)}."""

    numbers: dict[str, Any]
    rows: dict[int, np.ndarray] = field(default_factory=dict)


def search_memory(subject: Subject, shown: np.ndarray) -> Memory | None:
    """Look for every generated caption's image among the training images; keep the neighbours of `shown`.

    None where the training pack isn't at hand.
    """
    config = subject.path.config
    folder = Path(config.data.pack) / "train"
    if not (folder / "pack.json").is_file():
        return None
    train, size = Pack(folder), config.generated_size
    known = torch.cat([small(batch) for batch in image_batches(train, size)])
    known = torch.cat([known, known.flip(3)]).flatten(1)
    generated, kept = [], {}
    order = []
    for places, _, output in subject.generate(subject.generated_captions):
        images = to_uint8(output.images[-1])
        generated.append(small(to_tensor(torch.from_numpy(images))))
        order.append(places)
        for row, place in enumerate(places):
            if subject.generated_captions[place] in shown:
                kept[int(subject.generated_captions[place])] = images[row]
    back = np.argsort(np.concatenate(order))
    ours = torch.cat(generated).flatten(1)[torch.from_numpy(back)]
    real = torch.cat([small(batch) for batch in image_batches(subject.pack, size)]).flatten(1)
    first, second, where = nearest_two(ours, known, len(train.records))
    real_first, real_second, _ = nearest_two(real, known, len(train.records))
    clusters = subject.labels(subject.generated_captions)
    rates = {
        "run": weighted_mean(is_copy(first, second), clusters),
        "real": weighted_mean(is_copy(real_first, real_second), subject.pack.labels),
    }
    numbers = {
        "duplicate_rate": rates["run"].value,
        "interval95": list(rates["run"].interval95 or ()),
        "nearest": float(first.mean()),
        "real": {"duplicate_rate": rates["real"].value, "nearest": float(real_first.mean())},
        "counts": {"generated": len(ours), "training": len(train.records), "real": len(real)},
    }
    neighbours = []
    for caption in shown.tolist():
        place = int(np.searchsorted(subject.generated_captions, caption))
        image = int(where[place]) % len(train.records)
        crop = _image(train, image, size)
        crop = crop[:, ::-1] if where[place] >= len(train.records) else crop
        told = float(first[place])
        neighbours.append(Neighbour(caption, kept[caption], crop, told, train.records[image].class_name))
    return Memory(numbers, neighbours)


def measure_diversity(subject: Subject) -> Diversity:
    """Generate some captions several times and hold the images against each other."""
    captions = subject.generated_captions
    spread = captions[np.unique(np.linspace(0, len(captions) - 1, SPREAD_CAPTIONS).astype(int))]
    rows: dict[int, np.ndarray] = {}
    for batch, places in subject.batches(spread, "generation captions again"):
        encoding = subject.path.encode(batch).repeat(OUTPUTS)
        chosen = spread[places].tolist()
        keys = [f"{n} {caption_key(subject.pack, index)}" for index in chosen for n in range(OUTPUTS)]
        images = to_uint8(subject.path.generate(encoding, keys, subject.evaluation.seed).images[-1])
        rows |= {index: images[r * OUTPUTS : (r + 1) * OUTPUTS] for r, index in enumerate(chosen)}
    rows = dict(sorted(rows.items()))
    vectors = torch.stack([small(to_tensor(torch.from_numpy(images))).flatten(1) for images in rows.values()])
    within = _pairs(vectors)
    between = _pairs(vectors.transpose(0, 1)) if len(rows) > 1 else np.zeros(1)
    captions_within = weighted_mean(within, np.arange(len(within)), bounds=None)
    numbers = {
        "within": captions_within.value,
        "interval95": list(captions_within.interval95 or ()),
        "between": float(between.mean()),
        "real": _real_spread(subject),
        "ratio": captions_within.value / max(float(between.mean()), 1e-12),
        "counts": {"captions": len(rows), "generated images": OUTPUTS},
    }
    return Diversity({name: value for name, value in numbers.items() if value is not None}, rows)


def small(images: Tensor) -> Tensor:
    """(B, 3, H, W) averaged down to (B, 3, 16, 16)."""
    return F.adaptive_avg_pool2d(images.float(), SIDE)


def nearest_two(asked: Tensor, known: Tensor, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances of `asked` (N, F) to the nearest of `known` (2 * images, F: as they are, then mirrored) and
    to the nearest of all other images, and the nearest's row: (N,) each. The second is infinite where
    there is one image alone."""
    found = []
    known = known.double()  # cdist squares and subtracts: in float32 a copy's distance isn't 0
    for part in asked.double().split(256):
        distances = torch.cdist(part, known) / known.shape[1] ** 0.5
        row = distances.argmin(1)
        first = distances.gather(1, row[:, None])[:, 0]
        own = torch.stack([row % images, row % images + images], 1)
        second = distances.scatter(1, own, torch.inf).min(1).values
        found.append((first, second, row))
    first, second, row = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    return first, second, row


def is_copy(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether images so far from their two nearest training images are copies: (N,) bool."""
    return first <= COPY * second + SAME


def _pairs(vectors: Tensor) -> np.ndarray:
    """Mean distance of two of each row's images: (rows, images, F) -> (rows,)."""
    count = vectors.shape[1]
    distances = torch.cdist(vectors, vectors).sum((1, 2)) / (count * (count - 1))
    return (distances / vectors.shape[2] ** 0.5).numpy()


def _real_spread(subject: Subject) -> float | None:
    """Mean distance of two real images of one class; None where no class has two."""
    batches = image_batches(subject.pack, subject.path.config.generated_size)
    vectors = torch.cat([small(batch) for batch in batches]).flatten(1)
    labels = subject.pack.labels
    spreads = [
        _pairs(vectors[torch.from_numpy(own)][None])[0]
        for label in np.unique(labels)
        if len(own := np.flatnonzero(labels == label)) > 1
    ]
    return float(np.mean(spreads)) if spreads else None


def _image(pack: Pack, image: int, size: int) -> np.ndarray:
    """An image's centre crop, as it was compared: uint8 (S, S, 3)."""
    return to_uint8(read_images(pack, np.array([image]), centre_crops(pack, 1), size))[0]
