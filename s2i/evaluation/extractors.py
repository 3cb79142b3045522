"""Extractors: networks that turn 8-bit images into features, each with its name and a hash of its weights.

An extractor's `extract` takes images (B, 3, H, W) in [-1, 1], of 8-bit values, and gives {output: (B, width)}
float32 on the CPU. No image's features depend on the others'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_files import config_to_dict
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.runs.provenance import Origins
from s2i.runs.weight_fingerprint import weight_fingerprint

FEATURES = "features"  # the output that every extractor has
LOGITS = "logits"  # of the classes that a network was trained to tell apart, where it has any
PIXEL_SIDE = 16  # px to which `pixel_extractor` averages an image down


@dataclass(frozen=True)
class Extractor:
    """A network whose features a metric compares.

    `name`: in the registry; `network`: what it is, for people; `identity`: a short hash of its weights;
    `resize`: what happens to an image's size; `outputs`: {name: width}; `weights`: those that it computes
    with, by which a generator that they trained is refused (`s2i.runs.provenance`).
    """

    name: str
    network: str
    identity: str
    resize: str
    outputs: dict[str, int]
    extract: Callable[[Tensor], dict[str, Tensor]]
    weights: Origins = field(default_factory=dict)


def weights_identity(*networks: nn.Module | None) -> str:
    """A short hash of all weights and buffers, in order; the same on every device."""
    return weight_fingerprint(*networks)[:12]


def image_extractor(name: str, network: str, image_encoder: nn.Module, width: int) -> Extractor:
    """The global vector of an image encoder."""
    device = next(image_encoder.parameters()).device

    def extract(images: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            return {FEATURES: image_encoder(images.to(device))[0].float().cpu()}

    resize = "inside the image encoder, to what it was trained with"
    identity = image_encoder_identity(image_encoder)
    return Extractor(name, network, identity, resize, {FEATURES: width}, extract)


def image_encoder_identity(image_encoder: nn.Module) -> str:
    """As `weights_identity`, and of a pretrained one how it reads images, which its weights don't say."""
    identity = weights_identity(image_encoder)
    if isinstance(image_encoder, PretrainedImageEncoder):
        settings = config_to_dict(replace(image_encoder.config, weights="", sha256=""))
        identity += hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:8]
    return identity


def pixel_extractor() -> Extractor:
    """No network: an image averaged down to 16 px, its pixels (3, 16, 16) as one row."""

    def extract(images: Tensor) -> dict[str, Tensor]:
        return {FEATURES: F.adaptive_avg_pool2d(images.float(), PIXEL_SIDE).flatten(1).cpu()}

    resize = f"averaged down to {PIXEL_SIDE} px"
    return Extractor("pixels", "pixels", str(PIXEL_SIDE), resize, {FEATURES: 3 * PIXEL_SIDE**2}, extract)
