"""GAN-INT-CLS (Reed et al., ICML 2016): a DCGAN of one size, with residual blocks in its small maps.

Sizes of kernels, widths of the residual blocks and the initial weights are recalled from the published code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_networks import DiscriminatorConfig, GeneratorConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.deep_convolution import DeepConvolution
from s2i.models.generator import GeneratorOutput
from s2i.models.initial_weights import initialise_normally
from s2i.models.noise import batch_noise, caption_noise
from s2i.models.widths import check_widths

SLOPE = 0.2  # of each leaky ReLU
RESIDUAL_MAPS = 2  # of the generator: the 4 px and the 8 px map


class Bottleneck(nn.Module):
    """x + f(x), then a non-linearity: 1x1 to a part of the width, 3x3, 3x3 back, each with a batch norm."""

    def __init__(self, channels: int, inner: int, slope: float) -> None:
        """`slope`: of the non-linearities below zero; 0: ReLU."""
        super().__init__()
        self.slope = slope
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, 1, kernel // 2)
            for before, after, kernel in ((channels, inner, 1), (inner, inner, 3), (inner, channels, 3))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(each.out_channels) for each in self.convolutions)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        inner = hidden
        for convolution, norm in zip(self.convolutions[:-1], self.norms[:-1], strict=True):
            inner = F.leaky_relu(norm(convolution(inner)), self.slope)
        inner = self.norms[-1](self.convolutions[-1](inner))
        return F.leaky_relu(hidden + inner, self.slope)


class ResidualGenerator(nn.Module):
    """Noise and a linear map of the sentence -> one image, through transposed convolutions.

    `condition_dim` numbers are kept of the sentence; `channels` are those of the last map but one, each map
    before it has twice as many, up to eight times at 4 px of a 64 px image.
    """

    def __init__(self, config: GeneratorConfig, embedding_dim: int) -> None:
        super().__init__()
        self.config, self.sizes = config, [config.base_size]
        doublings = int(log2(config.base_size // 4))
        widths = [config.channels * 2**i for i in reversed(range(doublings))]  # at 4, 8, ... px
        if not widths:
            raise ValueError("a base_size of 8 px or more")
        self.project = nn.Linear(embedding_dim, config.condition_dim)
        self.first = nn.ConvTranspose2d(config.noise_dim + config.condition_dim, widths[0], 4)
        self.upsamplings = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, 2, 1)
            for before, after in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.residuals = nn.ModuleList(
            Bottleneck(width, width // 4, 0.0) for width in widths[:RESIDUAL_MAPS] if len(widths) > 1
        )
        self.head = nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1)

    def initialise(self) -> None:
        """Normal weights of deviation .02 (DCGAN)."""
        initialise_normally(self)

    def sample_noise(
        self, keys: Sequence[str], seed: int, latent_keys: Sequence[str] | None = None
    ) -> tuple[Tensor, ...]:
        """(B, noise_dim) standard normal; see `s2i.models.interfaces.Generator`."""
        return tuple(caption_noise(latent_keys or keys, seed, (self.config.noise_dim,)))

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """The same of a training step, from torch's global random state."""
        return batch_noise(count, (self.config.noise_dim,), device)

    def forward(self, encoding: CaptionEncoding, noise: Tensor, stages: int | None = None) -> GeneratorOutput:
        """B encodings, (B, noise_dim) -> images (B, 3, S, S) in [-1, 1]."""
        code = F.leaky_relu(self.project(encoding.sentence), SLOPE)  # phi(t), compressed
        hidden = self.first(torch.cat((noise, code), 1)[..., None, None])  # G(z, phi(t))
        for number, norm in enumerate(self.norms):
            if number:
                hidden = self.upsamplings[number - 1](hidden)
            hidden = norm(hidden)
            # As published, a residual block follows the norm itself, and brings the non-linearity.
            hidden = self.residuals[number](hidden) if number < len(self.residuals) else hidden.relu()
        return GeneratorOutput([self.head(hidden).float().tanh()], attention=[])


class MatchingAwareDiscriminator(nn.Module):
    """Whether an image is real and of this caption: one answer to both questions, no unconditional head.

    `project_dim` numbers are kept of the condition.
    """

    def __init__(
        self,
        config: DiscriminatorConfig,
        image_size: int,
        condition: int,
        classes: int = 0,
        contrastive: bool = False,
        project_dim: int = 128,
    ) -> None:
        super().__init__()
        if classes or contrastive:
            raise ValueError("gan.class_weight=0 and gan.contrast_weight=0: it has no such head")
        if config.norm != "batch":
            raise ValueError("discriminator.norm=batch, as published")
        check_widths(project_dim=project_dim)
        widths = [config.channels * 2**i for i in range(int(log2(image_size // 4)))]
        layers: list[nn.Module] = []
        before = 3
        for number, width in enumerate(widths):
            layers.append(DeepConvolution(before, width, 4, 2, 1))
            if number:
                layers.append(nn.BatchNorm2d(width))
            if number + 1 < len(widths):
                layers.append(nn.LeakyReLU(SLOPE))
            before = width
        self.backbone = nn.Sequential(*layers, Bottleneck(before, max(1, before // 4), SLOPE))
        self.project = nn.Sequential(
            nn.Linear(condition, project_dim), nn.BatchNorm1d(project_dim), nn.LeakyReLU(SLOPE)
        )
        self.joint = nn.Sequential(
            nn.Conv2d(before + project_dim, before, 1), nn.BatchNorm2d(before), nn.LeakyReLU(SLOPE)
        )
        self.conditional = DeepConvolution(before, 1, 4)

    def initialise(self) -> None:
        """Normal weights of deviation .02 (DCGAN)."""
        initialise_normally(self)

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""
        return self.parameters()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> map (B, C, 4, 4)."""
        return self.backbone(images)

    def conditional_logits(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """Logits (B,) of "real, and of this caption": map (B, C, 4, 4), condition (B, D)."""
        code = self.project(condition)[..., None, None].expand(-1, -1, *hidden.shape[2:])
        return self.conditional(self.joint(torch.cat((hidden, code), 1))).flatten()  # D(x, phi(t))
