"""The classifier's network: a small CNN with one softmax an attribute."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config import ClassifierConfig


class ClassifierNetwork(nn.Module):
    """A CNN with one linear head an attribute.

    Each block halves the side. The last map is kept as 4 x 4 places instead of averaged: where a colour lies
    tells whose it is.
    """

    def __init__(self, config: ClassifierConfig, heads: dict[str, list[str]], input_size: int) -> None:
        super().__init__()
        self.input_size, self.names = input_size, list(heads)
        layers: list[nn.Module] = []
        before = 3
        for width in config.channels:
            layers += [nn.Conv2d(before, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
            before = width
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.project = nn.Sequential(
            nn.Linear(before * 16, config.feature_dim, bias=False),
            nn.BatchNorm1d(config.feature_dim),
            nn.ReLU(True),
        )
        self.heads = nn.ModuleList(nn.Linear(config.feature_dim, len(values)) for values in heads.values())

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, 3, H, W) in [-1, 1] of any size -> features (B, F), logits {head: (B, values)}."""
        size = self.input_size
        if images.shape[-2:] != (size, size):
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        features = self.project(self.backbone(images))
        return features, {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}
