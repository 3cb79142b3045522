"""Who looks at images: networks that turn 8-bit images into features, each with its name and its hash.

An extractor's `look` takes images (B, 3, H, W) in [-1, 1], of 8-bit values, and gives {output: (B, width)}
float32 on the CPU. No image's features depend on the others'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from s2i.config_files import config_to_dict
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.runs.weight_fingerprint import weight_fingerprint

if TYPE_CHECKING:
    from s2i.evaluation.classifier import Classifier

FEATURES = "features"  # the output that every extractor has


@dataclass(frozen=True)
class Extractor:
    """A network that looks at images.

    `name`: as protocols ask for it; `network`: what it is; `identity`: a short hash of its weights; `resize`:
    what happens to an image's size; `outputs`: {name: width}.
    """

    name: str
    network: str
    identity: str
    resize: str
    outputs: dict[str, int]
    look: Callable[[Tensor], dict[str, Tensor]]


def weights_identity(*networks: nn.Module | None) -> str:
    """A short hash of all weights and buffers, in order; the same on every device."""
    return weight_fingerprint(*networks)[:12]


def classifier_extractor(classifier: Classifier) -> Extractor:
    """The classifier's features and, for each head, its probabilities as "probabilities of <head>"."""
    size = classifier.network.input_size

    def look(images: Tensor) -> dict[str, Tensor]:
        predictions = classifier.look([images])
        found = {FEATURES: torch.from_numpy(predictions.features)}
        return found | {
            probabilities_of(head): torch.from_numpy(values)
            for head, values in predictions.probabilities.items()
        }

    outputs = {FEATURES: classifier.width} | {
        probabilities_of(head): len(values) for head, values in classifier.heads.items()
    }
    resize = f"antialiased bilinear to {size} px where the image has another size"
    return Extractor("classifier", "classifier", classifier.identity, resize, outputs, look)


def probabilities_of(head: str) -> str:
    """The output of a classifier's extractor that holds a head's probabilities."""
    return f"probabilities of {head}"


def image_extractor(name: str, network: str, image_encoder: nn.Module, width: int) -> Extractor:
    """The global vector of an image encoder."""
    device = next(image_encoder.parameters()).device

    def look(images: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            return {FEATURES: image_encoder(images.to(device))[0].float().cpu()}

    resize = "inside the image encoder, to what it was trained with"
    identity = weights_identity(image_encoder)
    if isinstance(image_encoder, PretrainedImageEncoder):  # its weights don't say how it looks at images
        settings = config_to_dict(replace(image_encoder.config, weights="", sha256=""))
        identity += hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:8]
    return Extractor(name, network, identity, resize, {FEATURES: width}, look)
