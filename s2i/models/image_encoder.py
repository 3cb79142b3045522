"""Image encoder: picture -> a global vector and region vectors in the captions' space."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config import ImageEncoderConfig


class ImageEncoder(nn.Module):
    """A small residual-free CNN, trained from scratch with a caption encoder.

    Each block halves the side; regions come from the last block but one, the global vector from the last.
    """

    def __init__(self, config: ImageEncoderConfig, embedding: int) -> None:
        super().__init__()
        self.config = config
        widths = (3, *config.channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)
            )
            for before, after in zip(widths, widths[1:], strict=False)
        )
        self.region = nn.Conv2d(config.channels[-2], embedding, 1)
        side = config.image_size // 2 ** len(config.channels)  # px of the last map
        self.globe = nn.Linear(config.channels[-1] * side**2, embedding)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures.

        Args:
            pictures: (B, 3, H, W) in [-1, 1], of any size; resized to `image_size`.

        Returns:
            global vector (B, D) and regions (B, D, R).
        """
        size = self.config.image_size
        if pictures.shape[-1] != size or pictures.shape[-2] != size:
            pictures = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
        hidden = pictures
        for block in self.blocks[:-1]:
            hidden = block(hidden)
        regions = self.region(hidden).flatten(2)
        # All places of the last map, unpooled: which part has a colour shows in where the colour is.
        pooled = self.globe(self.blocks[-1](hidden).flatten(1))
        return (F.normalize(pooled, dim=1) if self.config.unit else pooled), regions
