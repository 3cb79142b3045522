"""Differentiable augmentation (DiffAugment, Zhao et al., NeurIPS 2020): images are changed at random before a
discriminator sees them, real and generated ones alike, so that it can't learn real ones by heart, and the
generator is not asked for the changes.

The random numbers come from outside: with the same ones, the same images are changed in the same way.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.config_networks import DiffAugmentConfig

NUMBERS = 7  # of an image: saturation, contrast, brightness, two of the shift, two of the square cut out


def augment(images: Tensor, numbers: Tensor, config: DiffAugmentConfig) -> Tensor:
    """Images (B, 3, S, S) in [-1, 1], changed by uniform numbers (B, NUMBERS) in [0, 1).

    Colours may leave [-1, 1]. What is shifted in or cut out is 0, mid-grey. Gradients pass to the images.
    """
    saturation, contrast, brightness, down, right, top, left = numbers.to(images.dtype).unbind(1)
    if config.colour:
        images = _about(images, images.mean(1, keepdim=True), 2 * saturation)  # 0 to 2
        images = _about(images, images.mean((1, 2, 3), keepdim=True), 0.5 + contrast)  # .5 to 1.5
    if config.brightness:
        images = images + _per_image(config.brightness * (2 * brightness - 1))
    if config.translation:
        images = _shifted(images, round(config.translation * images.shape[-1]), down, right)
    if config.cutout:
        images = images * _outside_square(images, round(config.cutout * images.shape[-1]), top, left)
    return images


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _about(images: Tensor, centre: Tensor, factor: Tensor) -> Tensor:
    """Differences from a centre, times a factor an image."""
    return centre + _per_image(factor) * (images - centre)


def _shifted(images: Tensor, most: int, down: Tensor, right: Tensor) -> Tensor:
    """Each image shifted by a whole number of px, up to `most` to either side."""
    side = images.shape[-1]
    padded = F.pad(images, (most,) * 4)
    places = torch.arange(side, device=images.device)
    rows, columns = ((_whole(shift, 2 * most + 1).unsqueeze(1) + places) for shift in (down, right))
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def _outside_square(images: Tensor, size: int, top: Tensor, left: Tensor) -> Tensor:
    """(B, 1, S, S): 0 in a square of `size` px, all of it inside the image, 1 around it."""
    side = images.shape[-1]
    places = torch.arange(side, device=images.device)
    inside = []
    for edge in (top, left):
        first = _whole(edge, side - size + 1).unsqueeze(1)
        inside.append((places >= first) & (places < first + size))
    return (~(inside[0].unsqueeze(2) & inside[1].unsqueeze(1))).unsqueeze(1).to(images.dtype)


def _whole(numbers: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1) as whole ones, 0 to count - 1."""
    return (numbers * count).long().clamp(max=count - 1)
