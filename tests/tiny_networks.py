"""Image networks with random weights: pretrained kinds, and a small one in place of a network of features."""

from __future__ import annotations

import torch

from s2i.models.feature_network import FeatureNetwork
from s2i.models.pretrained import whole_network


def make_network(kind: str) -> torch.nn.Module:
    """Of random weights that keep numbers at their size; its own start takes seconds."""
    with torch.device("meta"):
        network = whole_network(kind).eval()
    network.to_empty(device="cpu")
    random = torch.Generator().manual_seed(0)
    for value in network.state_dict().values():
        if value.dim() > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=random)
        else:
            value.fill_(1)
    return network


class TinyFeatures(torch.nn.Module):
    """Maps at strides 4, 8, 16 and 32, as a network of features has them, of a few channels and random
    weights."""

    CHANNELS, STRIDES = (3, 4, 5, 6), (4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        widths = (3, *self.CHANNELS)
        self.stages = torch.nn.ModuleList(
            torch.nn.Conv2d(before, after, 4, 4 if number == 0 else 2, 0 if number == 0 else 1)
            for number, (before, after) in enumerate(zip(widths, widths[1:], strict=False))
        )
        for weight in self.parameters():
            torch.nn.init.normal_(weight, std=0.3, generator=random)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for stage in self.stages:
            images = stage(images).relu()
            found.append(images)
        return found


def tiny_feature_network(input_size: int) -> FeatureNetwork:
    return FeatureNetwork(TinyFeatures(), TinyFeatures.CHANNELS, TinyFeatures.STRIDES, input_size)
