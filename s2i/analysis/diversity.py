"""Diversity: how far images of one caption are from each other, beside images of different captions.

Distances are of pixels: root mean square difference of images averaged down to 16 px, values in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2i.data.images import to_tensor, to_uint8
from s2i.evaluation.captions import caption_key
from s2i.evaluation.extractors import FEATURES, pixel_extractor
from s2i.evaluation.feature_bank import FeatureBank
from s2i.evaluation.metric_networks import PIXELS
from s2i.metrics.statistics import weighted_mean

CAPTIONS, IMAGES_A_CAPTION = 40, 8  # captions that are generated several times, and how often

PROCEDURE = (
    f"{CAPTIONS} captions at most, evenly spaced among the generated ones, are generated {IMAGES_A_CAPTION}"
    " times each from noise of their own. within: mean root mean square difference, at 16 px, of two images"
    " of one caption; between: of two images of different captions; real: of two real images of one class."
    " ratio: within over between; 0 where a caption has one image. Intervals: t over captions."
)


@dataclass(frozen=True)
class Diversity:
    """`numbers`: for results.json; `images`: {caption's index in the pack: uint8 (images, S, S, 3)}."""

    numbers: dict[str, Any]
    images: dict[int, np.ndarray] = field(default_factory=dict)


def measure_diversity(bank: FeatureBank) -> Diversity:
    """Generate some captions several times and compare the images of each."""
    captions = bank.captions.generated
    chosen = captions[np.unique(np.linspace(0, len(captions) - 1, CAPTIONS).astype(int))]
    images: dict[int, np.ndarray] = {}
    for batch, places in bank.captions.batches(chosen, "generation for diversity"):
        encoding = bank.path.encode(batch).repeat(IMAGES_A_CAPTION)
        indices = chosen[places].tolist()
        keys = [f"{n} {caption_key(bank.pack, index)}" for index in indices for n in range(IMAGES_A_CAPTION)]
        generated = to_uint8(bank.path.generate(encoding, keys, bank.settings.seed).images[-1])
        for row, index in enumerate(indices):
            images[index] = generated[row * IMAGES_A_CAPTION : (row + 1) * IMAGES_A_CAPTION]
    images = dict(sorted(images.items()))
    extract = pixel_extractor().extract
    measured = (torch.from_numpy(bank.captions.as_measured(each)) for each in images.values())
    pixels = torch.stack([extract(to_tensor(each))[FEATURES] for each in measured])
    within = mean_pair_distance(pixels)
    between = mean_pair_distance(pixels.transpose(0, 1)) if len(images) > 1 else np.zeros(1)
    mean = weighted_mean(within, np.arange(len(within)), bounds=None)
    numbers = {
        "within": mean.value,
        "interval95": list(mean.interval95 or ()),
        "between": float(between.mean()),
        "real": _within_real_classes(bank),
        "ratio": mean.value / max(float(between.mean()), 1e-12),
        "counts": {"captions": len(images), "images_per_caption": IMAGES_A_CAPTION},
    }
    return Diversity({name: value for name, value in numbers.items() if value is not None}, images)


def mean_pair_distance(pixels: Tensor) -> np.ndarray:
    """Mean distance of two of each row's images: (rows, images, F) -> (rows,)."""
    count = pixels.shape[1]
    distances = torch.cdist(pixels, pixels).sum((1, 2)) / (count * (count - 1))
    return (distances / pixels.shape[2] ** 0.5).numpy()


def _within_real_classes(bank: FeatureBank) -> float | None:
    """Mean distance of two real images of one class; None where no class has two."""
    pixels, labels = torch.from_numpy(np.array(bank.real(PIXELS)[FEATURES])), bank.pack.labels
    distances = [
        mean_pair_distance(pixels[torch.from_numpy(members)][None])[0]
        for label in np.unique(labels)
        if len(members := np.flatnonzero(labels == label)) > 1
    ]
    return float(np.mean(distances)) if distances else None
