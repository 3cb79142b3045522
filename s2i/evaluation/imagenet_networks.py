"""ImageNet networks that score without a download: EfficientNet-lite0 by pip, MobileNet-v2 from a local file.

Their features compare sets of images, as Inception's do; their classes say whether a bird is to be seen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.evaluation.extractors import FEATURES, LOGITS, Extractor, weights_identity
from s2i.models.pretrained import KINDS
from s2i.runs.pretrained_weights import imagenet_classifier
from s2i.runs.provenance import backbone_fingerprint

# Of ImageNet's 1,000 classes, from 0: cock to great grey owl, black grouse to black swan, white stork to
# albatross; 59.
BIRD_CLASSES = (*range(7, 25), *range(80, 101), *range(127, 147))
CLASSES = 1000
SIDE = 224  # px to which every image is brought


def imagenet_extractor(
    kind: str, file: str = "", normalization: str = "published", device: torch.device | str = "cpu"
) -> Extractor:
    """An extractor named as its network: pooled features and logits of ImageNet's classes.

    Args:
        kind: "efficientnet_lite0" or "mobilenet_v2".
        file: of weights with their classifier; empty: the published ones.
        normalization: of pixels, as `s2i.models.pretrained.PretrainedNetwork` takes it.

    Raises:
        InputError: the weights can't be had, or are of another network.
    """
    network = imagenet_classifier(kind, SIDE, normalization, file).to(device)

    def extract(images: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            features, logits = network(enlarge(images.to(device)))
        return {FEATURES: features.float().cpu(), LOGITS: logits.float().cpu()}

    return Extractor(
        kind,
        f"{kind}, {'weights of a local file' if file else 'its published weights'}",
        f"{weights_identity(network)}-{network.backbone.normalization}",
        f"antialiased bicubic to {SIDE} px",
        {FEATURES: KINDS[kind].channels, LOGITS: CLASSES},
        extract,
        {backbone_fingerprint(network.backbone.network): kind},
    )


def enlarge(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1], of any size -> (B, 3, SIDE, SIDE), by the filter that antialiases a larger
    image too."""
    if images.shape[-2:] == (SIDE, SIDE):
        return images
    return F.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
