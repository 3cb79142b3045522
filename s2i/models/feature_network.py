"""A frozen, pretrained network in whose features images are compared, at four scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeatureNetwork(nn.Module):
    """Images, resized to one side, to a frozen network's maps; gradients pass through to the images.

    It is shared by whoever looks through it, and part of none of them: no checkpoint, average or export holds
    its weights, and no optimiser reaches them.

    Attributes:
        channels, strides: of its maps, the widest map first.
    """

    def __init__(
        self, network: nn.Module, channels: Sequence[int], strides: Sequence[int], input_size: int
    ) -> None:
        """`network`: with `features(images) -> list of maps`; `input_size`: px, at which it sees images."""
        super().__init__()
        self.network, self.input_size = network, input_size
        self.channels, self.strides = tuple(channels), tuple(strides)
        self.requires_grad_(False)
        self.eval()

    @property
    def sides(self) -> list[int]:
        """Side of each map, in places."""
        return [-(-self.input_size // stride) for stride in self.strides]

    def train(self, mode: bool = True) -> FeatureNetwork:
        """Stays in eval mode whatever is asked."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, S, S) in [-1, 1], of any side -> one (B, C, h, h) a scale."""
        size = self.input_size
        if images.shape[-1] != size:
            shrinks = size < images.shape[-1]
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=shrinks)
        return self.network.features(images)
