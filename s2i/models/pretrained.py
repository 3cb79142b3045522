"""Pretrained image networks, cut where regions and global vectors are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.models.efficientnet_lite0 import EfficientNetLite0

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of [0, 1]


@dataclass(frozen=True)
class PretrainedKind:
    """A pretrained network as it is used here: torchvision's, but for EfficientNet-lite0.

    `lower`, `upper`: names of its layers, in order, up to the map of regions and from there to the last map;
    `unused`: what comes after, or beside, and is left out; `region_channels`, `channels`: of the two maps;
    `normalization`: in which the published weights expect images; `least`: px that it needs;
    `options`: of torchvision's builder.
    """

    lower: tuple[str, ...]
    upper: tuple[str, ...]
    unused: tuple[str, ...]
    region_channels: int
    channels: int
    normalization: str
    least: int
    options: dict[str, Any] = field(default_factory=dict)


def _numbered(template: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(template.format(number) for number in range(first, last + 1))


EFFICIENTNET_LITE0 = "efficientnet_lite0"  # the one whose weights come by pip

# Regions come from the last map that a sixteenth of the input is wide: 17 x 17 of 299 px, 14 x 14 of 224.
KINDS = {
    "inception_v3": PretrainedKind(  # AttnGAN's and S2IGAN's: regions mixed_6e, 2048 pooled
        lower=("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1")
        + ("Conv2d_4a_3x3", "maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b")
        + ("Mixed_6c", "Mixed_6d", "Mixed_6e"),
        upper=("Mixed_7a", "Mixed_7b", "Mixed_7c"),
        unused=("AuxLogits", "avgpool", "dropout", "fc"),
        region_channels=768,
        channels=2048,
        normalization="symmetric",  # Google's weights; torchvision undoes ImageNet's mean and deviation
        least=75,
        options={"init_weights": False, "transform_input": False},
    ),
    "googlenet": PretrainedKind(  # Li et al.'s teacher: 1024 pooled
        lower=("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3")
        + ("inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
        upper=("maxpool4", "inception5a", "inception5b"),
        unused=("aux1", "aux2", "avgpool", "dropout", "fc"),
        region_channels=832,
        channels=1024,
        normalization="symmetric",  # Google's weights too
        least=32,
        options={"init_weights": False, "transform_input": False},
    ),
    "resnet50": PretrainedKind(
        lower=("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"),
        upper=("layer4",),
        unused=("avgpool", "fc"),
        region_channels=1024,
        channels=2048,
        normalization="imagenet",
        least=32,
    ),
    # Regions: the wide map inside the last halving block, as detectors read it.
    "mobilenet_v2": PretrainedKind(
        lower=(*_numbered("features.{}", 0, 13), "features.14.conv.0"),
        upper=(*_numbered("features.14.conv.{}", 1, 3), *_numbered("features.{}", 15, 18)),
        unused=("classifier",),
        region_channels=576,
        channels=1280,
        normalization="imagenet",
        least=32,
    ),
    EFFICIENTNET_LITE0: PretrainedKind(  # likewise
        lower=("stem", *_numbered("blocks.{}", 0, 10), "blocks.11.expand"),
        upper=("blocks.11.depthwise", "blocks.11.project", *_numbered("blocks.{}", 12, 15), "head"),
        unused=("classifier",),
        region_channels=672,
        channels=1280,
        normalization="symmetric",  # TensorFlow's
        least=32,
    ),
}


def whole_network(kind: str) -> nn.Module:
    """The network of a kind, its classifier too, with whatever weights it begins with."""
    if kind == EFFICIENTNET_LITE0:
        return EfficientNetLite0()
    from torchvision.models import get_model  # here: generation needs none of it, and it takes a second

    return get_model(kind, weights=None, **KINDS[kind].options)


class PretrainedNetwork(nn.Module):
    """A pretrained network without its classifier, in eval mode for good and frozen, batch norms and all.

    (AttnGAN left its Inception in train mode: the weights stood still, the statistics drifted.)
    """

    def __init__(self, kind: str, input_size: int, normalization: str = "published") -> None:
        """`input_size`: px; `normalization` of pixels: "imagenet" (mean and deviation), "symmetric" ([-1, 1])
        or "published", as the published weights expect them."""
        super().__init__()
        known = KINDS[kind]
        self.kind, self.input_size = kind, input_size
        self.normalization = known.normalization if normalization == "published" else normalization
        self.network = whole_network(kind)
        for name in known.unused:
            setattr(self.network, name, None)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> PretrainedNetwork:
        """Stays in eval mode whatever is asked."""
        return super().train(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [-1, 1], of any size -> pooled vector (B, channels), map of regions
        (B, region_channels, h, w). Gradients pass through to the images."""
        size = self.input_size
        if images.shape[-2:] != (size, size):
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        if self.normalization == "imagenet":
            mean, deviation = (
                images.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION)
            )
            images = ((images + 1) / 2 - mean) / deviation
        hidden = images.contiguous(memory_format=torch.channels_last)  # a quarter faster on a CPU
        for name in KINDS[self.kind].lower:
            hidden = self.network.get_submodule(name)(hidden)
        regions = hidden
        for name in KINDS[self.kind].upper:
            hidden = self.network.get_submodule(name)(hidden)
        return hidden.mean((2, 3)), regions


class ImageNetClassifier(nn.Module):
    """A pretrained network with its classifier: which of ImageNet's 1,000 classes an image is of."""

    def __init__(self, backbone: PretrainedNetwork, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone, self.classifier = backbone, classifier
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> ImageNetClassifier:
        """Stays in eval mode whatever is asked."""
        return super().train(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [-1, 1], of any size -> pooled vector (B, channels), logits (B, 1000)."""
        pooled, _ = self.backbone(images)
        return pooled, self.classifier(pooled)
