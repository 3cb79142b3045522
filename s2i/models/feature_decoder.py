"""A decoder of a frozen image network's features (Speech2Face's, carried over from faces)."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import torch
from torch import Tensor, nn

from s2i.config_networks import GeneratorConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput
from s2i.models.stackgan import UpBlock
from s2i.models.widths import check_widths

NARROWING = 8  # of the map at 4 px over `generator.channels`


class FeatureDecoder(nn.Module):
    """A sentence that stands for an image's feature -> that image. It takes no noise: one caption, one image.

    At 4 px it has eight times `channels`, each further map has half, down to `min_channels`; `width` numbers
    lie between the feature and the first map.
    """

    can_be_truncated = False  # there is no noise; see `s2i.models.interfaces.Generator`

    def __init__(self, config: GeneratorConfig, embedding_dim: int, width: int = 1000) -> None:
        super().__init__()
        check_widths(width=width)
        self.sizes = [config.base_size]
        doublings = int(log2(config.base_size // 4))
        widths = [max(config.min_channels, NARROWING * config.channels // 2**i) for i in range(doublings + 1)]
        self.first_layer = nn.Sequential(nn.Linear(embedding_dim, width), nn.ReLU())
        self.linear = nn.Linear(width, widths[0] * 16)
        self.blocks = nn.Sequential(
            *(UpBlock(before, after) for before, after in zip(widths, widths[1:], strict=False))
        )
        self.head = nn.Conv2d(widths[-1], 3, 3, 1, 1)

    def initialise(self) -> None:
        """The layers' own initial weights are those that a training begins with."""

    def sample_noise(
        self, keys: Sequence[str], seed: int, latent_keys: Sequence[str] | None = None
    ) -> tuple[Tensor, ...]:
        """None."""
        return ()

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """None."""
        return ()

    def forward(self, encoding: CaptionEncoding, stages: int | None = None) -> GeneratorOutput:
        """B encodings -> images (B, 3, S, S) in [-1, 1]."""
        hidden = self.linear(self.first_layer(encoding.sentence)).relu()
        hidden = self.blocks(hidden.unflatten(1, (-1, 4, 4)))  # image = decoder(v)
        return GeneratorOutput([self.head(hidden).float().tanh()], attention=[])
