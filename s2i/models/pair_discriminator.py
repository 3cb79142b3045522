"""A discriminator that sees image and speech together, and says whether they are real and belong together.

Of Chen et al. 2017 (GAN-CLS's, of log-mels and images) and of CMCGAN (the joint corresponding adversarial
loss). Sizes of kernels are DCGAN's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log2

import torch
from torch import Tensor, nn

from s2i.config_networks import DiscriminatorConfig
from s2i.models.deep_convolution import DeepConvolution
from s2i.models.gradient_layout import flatten_map
from s2i.models.initial_weights import initialise_normally
from s2i.models.log_mel_generator import HALVINGS
from s2i.models.widths import check_widths

SLOPE = 0.2  # of each leaky ReLU


class PairDiscriminator(nn.Module):
    """An image and a log-mel -> one logit. The speech becomes `project_dim` numbers, which join the image's
    map of 4 px at each place."""

    def __init__(
        self,
        config: DiscriminatorConfig,
        image_size: int,
        mel_bins: int,
        frames: int,
        project_dim: int = 128,
    ) -> None:
        super().__init__()
        if config.norm != "batch":
            raise ValueError("discriminator.norm=batch")
        check_widths(project_dim=project_dim)
        if image_size < 8 or min(mel_bins, frames) < 2**HALVINGS:
            raise ValueError(
                f"images of 8 px or more, and log-mels of {2**HALVINGS} bins and frames or more"
                f" (audio.mel_bins, speech_generator.frames), not {image_size} px and {mel_bins} x {frames}"
            )
        halvings = int(log2(image_size // 4))
        widths = [min(config.max_channels, config.channels * 2**i) for i in range(max(halvings, HALVINGS))]
        self.image = _halve(3, widths[:halvings])
        self.speech = _halve(1, widths[:HALVINGS])
        places = (mel_bins // 2**HALVINGS) * (frames // 2**HALVINGS)
        self.project = nn.Sequential(
            nn.Linear(widths[HALVINGS - 1] * places, project_dim),
            nn.BatchNorm1d(project_dim),
            nn.LeakyReLU(SLOPE),
        )
        last = widths[halvings - 1]
        self.joint = nn.Sequential(
            nn.Conv2d(last + project_dim, last, 1), nn.BatchNorm2d(last), nn.LeakyReLU(SLOPE)
        )
        self.logit = DeepConvolution(last, 1, 4)

    def initialise(self) -> None:
        """Normal weights of deviation .02 (DCGAN)."""
        initialise_normally(self)

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""
        return self.parameters()

    def forward(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Discriminate pairs of images (B, 3, S, S) and log-mels (B, M, T), both in [-1, 1].

        Images or log-mels that several pairs share, as one tensor, pass their convolutions once.

        Returns:
            of each pair logits (B,) of "both are real, and of one thing".
        """
        # A tensor's own equality is that of its elements, so it is known again by its identity.
        maps = {id(images): images for images, _ in pairs}
        maps = {key: self.image(images) for key, images in maps.items()}
        codes = {id(speech): speech for _, speech in pairs}
        codes = {
            key: self.project(flatten_map(self.speech(speech.unsqueeze(1)))) for key, speech in codes.items()
        }
        return [self.logits_of(maps[id(images)], codes[id(speech)]) for images, speech in pairs]

    def logits_of(self, image_map: Tensor, code: Tensor) -> Tensor:
        """Images' last maps (B, C, 4, 4) and codes of speech (B, project_dim) -> logits (B,)."""
        tiled = code[..., None, None].expand(-1, -1, *image_map.shape[2:])
        return self.logit(self.joint(torch.cat((image_map, tiled), 1))).flatten()  # D(image, speech)


def _halve(channels: int, widths: list[int]) -> nn.Sequential:
    """Strided convolutions, one a width, with a batch norm behind all but the first."""
    layers: list[nn.Module] = []
    for number, width in enumerate(widths):
        layers.append(nn.Conv2d(channels, width, 4, 2, 1))
        if number:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.LeakyReLU(SLOPE))
        channels = width
    return nn.Sequential(*layers)
