"""Who looks at pictures: networks that turn 8-bit pictures into features, each with its name and its hash.

An extractor's `look` takes pictures (B, 3, H, W) in [-1, 1], of 8-bit values, and gives {output: (B, width)}
float32 on the CPU. No picture's features depend on the others'.
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

if TYPE_CHECKING:
    from s2i.training.classifier import Judge

FEATURES = "features"  # the output that every extractor has


@dataclass(frozen=True)
class Extractor:
    """A network that looks at pictures.

    `name`: as protocols ask for it; `network`: what it is; `identity`: a short hash of its weights; `resize`:
    what happens to a picture's size; `outputs`: {name: width}.
    """

    name: str
    network: str
    identity: str
    resize: str
    outputs: dict[str, int]
    look: Callable[[Tensor], dict[str, Tensor]]


def weights_identity(*networks: nn.Module | None) -> str:
    """A short hash of all weights and buffers, in order; the same on every device."""
    found = hashlib.sha256()
    for network in networks:
        for name, value in network.state_dict().items() if network is not None else ():
            found.update(name.encode())
            found.update(value.cpu().numpy().tobytes())
    return found.hexdigest()[:12]


def judge_extractor(judge: Judge) -> Extractor:
    """The judge's features and, for each head, its probabilities as "probabilities of <head>"."""
    size = judge.network.image_size

    def look(pictures: Tensor) -> dict[str, Tensor]:
        opinion = judge.look([pictures])
        found = {FEATURES: torch.from_numpy(opinion.features)}
        return found | {
            probabilities_of(head): torch.from_numpy(values) for head, values in opinion.probabilities.items()
        }

    outputs = {FEATURES: judge.width} | {
        probabilities_of(head): len(values) for head, values in judge.heads.items()
    }
    resize = f"antialiased bilinear to {size} px where the picture has another size"
    return Extractor("judge", "judge", judge.identity, resize, outputs, look)


def probabilities_of(head: str) -> str:
    """The output of a judge's extractor that holds a head's probabilities."""
    return f"probabilities of {head}"


def image_extractor(name: str, network: str, image_encoder: nn.Module, width: int) -> Extractor:
    """The global vector of an image encoder."""
    device = next(image_encoder.parameters()).device

    def look(pictures: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            return {FEATURES: image_encoder(pictures.to(device))[0].float().cpu()}

    resize = "inside the image encoder, to what it was trained with"
    identity = weights_identity(image_encoder)
    if isinstance(image_encoder, PretrainedImageEncoder):  # its weights don't say how it looks at pictures
        settings = config_to_dict(replace(image_encoder.config, weights="", sha256=""))
        identity += hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:8]
    return Extractor(name, network, identity, resize, {FEATURES: width}, look)
