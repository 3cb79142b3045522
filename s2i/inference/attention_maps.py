"""Attention maps of each segment or word of a caption, as heat over the image."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from s2i.data.images import grid, to_uint8
from s2i.data.text import tokenise
from s2i.inference.path import GenerationPath

STRIP = 18  # px under a tile, for its label
LEAST_SIDE = 128  # px of a tile, so that a label fits
COLUMNS = 8
HEAT = torch.tensor([[0.25, 0.0, 0.45], [0.85, 0.1, 0.2], [1.0, 0.9, 0.3]])  # RGB: least, half, most


def segment_labels(path: GenerationPath, steps: int, text: str | None = None) -> list[str]:
    """A label for each valid step of a caption's sequence: its word, or its seconds in what is said."""
    if path.config.modality == "text":
        return tokenise(text or "")[:steps]
    duration = path.encoder.seconds_per_step
    return [f"{i * duration:.2f} - {(i + 1) * duration:.2f} s" for i in range(steps)]


def heat(attention: Tensor) -> Tensor:
    """Attention above uniform, at each position for each step: (T, H, W) -> the same, in [0, 1].

    0 is the uniform weight 1 / T or less; 1 is the largest weight in all T maps, but at least 2 / T, so that
    an almost uniform attention has no heat.
    """
    uniform = 1 / len(attention)
    most = max(float(attention.max()), 2 * uniform)
    return ((attention - uniform) / (most - uniform)).clamp(0, 1)


def heat_over(image: Tensor, strength: Tensor) -> np.ndarray:
    """One overlay: the image in grey under the heat of one step.

    Args:
        image: (3, S, S) in [-1, 1].
        strength: (H, W) in [0, 1].

    Returns:
        uint8 (S, S, 3).
    """
    strength = F.interpolate(strength[None, None], image.shape[-2:], mode="bilinear")[0, 0, ..., None]
    step = 2 * strength
    colour = torch.where(
        step < 1, HEAT[0] + step * (HEAT[1] - HEAT[0]), HEAT[1] + (step - 1) * (HEAT[2] - HEAT[1])
    )
    grey = ((image + 1) / 2).mean(0)[..., None]
    cover = 0.75 * strength
    mixed = grey * (1 - cover) + colour * cover
    return to_uint8(mixed.movedim(-1, 0) * 2 - 1)


def attention_overlay(
    image: Tensor, attention: Tensor, labels: list[str], side: int = LEAST_SIDE
) -> Image.Image:
    """The image and a tile with the attention map of each segment or word, on one common scale.

    Args:
        image: (3, S, S) in [-1, 1].
        attention: (T, H, W), as a stage returns it; steps after the labels' end are padding.
        labels: one a valid step.
        side: px, at least, of a tile.
    """
    image, attention = image.cpu(), attention.cpu()[: len(labels)]
    larger = enlarge(image, side)
    tiles = [_labelled(to_uint8(larger), "image")]
    for label, strength in zip(labels, heat(attention), strict=True):
        tiles.append(_labelled(heat_over(larger, strength), label))
    return grid(np.stack(tiles), min(len(tiles), COLUMNS))


def enlarge(image: Tensor, least: int) -> Tensor:
    """(3, S, S) -> a whole multiple of S, at least `least`, without smoothing."""
    factor = ceil(least / image.shape[-1])
    return image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def _labelled(tile: np.ndarray, label: str) -> np.ndarray:
    height, width, _ = tile.shape
    canvas = Image.new("RGB", (width, height + STRIP), "white")
    canvas.paste(Image.fromarray(tile))
    centre = (width // 2, height + STRIP // 2)
    ImageDraw.Draw(canvas).text(centre, label, fill="black", font=ImageFont.load_default(12), anchor="mm")
    return np.asarray(canvas)
