"""StackGAN (Zhang et al., ICCV 2017): two generators trained one after the other.

Stage I makes a small image of caption and noise; Stage II encodes that image, reads the caption again and
makes a larger one. Layers are those of the authors' PyTorch code, at the 256 px of their paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log2

import torch
from torch import Tensor, nn

from s2i.config_networks import DiscriminatorConfig, GeneratorConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import Discriminator
from s2i.models.doubled_convolution import convolve_doubled
from s2i.models.generator import GeneratorOutput
from s2i.models.initial_weights import initialise_normally
from s2i.models.noise import batch_noise, caption_noise
from s2i.models.tiled_convolution import convolve_tiled
from s2i.models.widths import check_widths

NARROWING = 8  # of Stage I's channels at 4 px over `generator.channels`
HALVINGS = 2  # of Stage I's image in Stage II's encoder


class RectifiedAugmentation(nn.Module):
    """A Gaussian around the sentence: linear layer, ReLU, mean and log variance.

    As their code has it: no mean is negative and no deviation less than 1.
    """

    def __init__(self, embedding: int, condition: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding, 2 * condition)

    def forward(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> mu (B, C), log variance (B, C); float32."""
        mu, logvar = self.linear(sentence).float().relu().chunk(2, 1)  # mu, log sigma^2
        return mu, logvar


class UpBlock(nn.Module):
    """Twice the size by nearest neighbours, half the channels: convolution, batch norm, ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, 2H, 2W)."""
        return self.norm(convolve_doubled(hidden, self.convolution.weight)).relu()


class ResidualBlock(nn.Module):
    """Convolution, batch norm, ReLU, convolution, batch norm; plus the input, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        inner = self.norms[0](self.convolutions[0](hidden)).relu()
        return (hidden + self.norms[1](self.convolutions[1](inner))).relu()


class StageOneGenerator(nn.Module):
    """Caption and noise -> an image of `base_size` px. At 4 px it has eight times `channels`."""

    def __init__(self, config: GeneratorConfig, embedding_dim: int) -> None:
        super().__init__()
        self.config, self.sizes = config, [config.base_size]
        doublings = int(log2(config.base_size // 4))
        self.widest = NARROWING * config.channels
        if self.widest % 2**doublings:
            raise ValueError(f"channels that {doublings} doublings can halve")
        self.augmentation = RectifiedAugmentation(embedding_dim, config.condition_dim)
        self.linear = nn.Linear(config.condition_dim + config.noise_dim, self.widest * 16, bias=False)
        self.norm = nn.BatchNorm1d(self.widest * 16)
        self.blocks = _up_blocks(self.widest, doublings)
        self.head = nn.Conv2d(self.widest // 2**doublings, 3, 3, 1, 1, bias=False)

    @property
    def noise_widths(self) -> tuple[int, int]:
        """Numbers of z and of the augmentation's noise."""
        return self.config.noise_dim, self.config.condition_dim

    def initialise(self) -> None:
        """Normal weights of deviation .02."""
        initialise_normally(self)

    def sample_noise(
        self, keys: Sequence[str], seed: int, latent_keys: Sequence[str] | None = None
    ) -> tuple[Tensor, ...]:
        """z (B, noise_dim) and the augmentation's (B, condition_dim); see
        `s2i.models.interfaces.Generator`."""
        latent, condition = caption_noise(keys, seed, self.noise_widths)
        if latent_keys is not None:
            latent, _ = caption_noise(latent_keys, seed, self.noise_widths)
        return latent, condition

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """The same of a training step, from torch's global random state."""
        return batch_noise(count, self.noise_widths, device)

    def forward(
        self, encoding: CaptionEncoding, noise: Tensor, condition_noise: Tensor, stages: int | None = None
    ) -> GeneratorOutput:
        """Generate one image of each of B captions."""
        mu, logvar = self.augmentation(encoding.sentence)
        condition = mu + (0.5 * logvar).exp() * condition_noise  # c_0 = mu + sigma eps
        code = torch.cat((condition, noise), 1)
        hidden = self.norm(self.linear(code)).relu().unflatten(1, (self.widest, 4, 4))  # s_0 = G_0(z, c_0)
        return GeneratorOutput([self.head(self.blocks(hidden)).float().tanh()], [], mu, logvar)


class StageTwoGenerator(nn.Module):
    """Stage I's image and the caption -> an image of `base_size` px.

    `first`: a Stage I generator, frozen and in evaluation mode for good, of the same noise and condition. Its
    weights come from the run `gan.first_stage`, and lie in the checkpoint with the others.
    """

    def __init__(
        self, config: GeneratorConfig, embedding_dim: int, first_size: int = 64, first_channels: int = 128
    ) -> None:
        """`first_size`, `first_channels`: `base_size` and `channels` of Stage I."""
        super().__init__()
        check_widths(first_size=first_size, first_channels=first_channels)
        self.config, self.sizes = config, [config.base_size]
        side = first_size // 2**HALVINGS
        if first_size >= config.base_size or side < 2:
            raise ValueError(f"first_size of 8 px or more and less than {config.base_size}")
        doublings = int(log2(config.base_size / side))
        width = config.channels * 2**HALVINGS
        if width % 2**doublings:
            raise ValueError(f"channels that {doublings} doublings can halve")
        self.first_stage = StageOneGenerator(
            replace(config, base_size=first_size, channels=first_channels), embedding_dim
        ).requires_grad_(False)
        self.augmentation = RectifiedAugmentation(embedding_dim, config.condition_dim)
        layers: list[nn.Module] = [nn.Conv2d(3, config.channels, 3, 1, 1, bias=False), nn.ReLU()]
        for before in (config.channels, 2 * config.channels):
            layers += [
                nn.Conv2d(before, 2 * before, 4, 2, 1, bias=False),
                nn.BatchNorm2d(2 * before),
                nn.ReLU(),
            ]
        self.encoder = nn.Sequential(*layers)
        self.join = nn.Sequential(
            nn.Conv2d(width + config.condition_dim, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.residuals = nn.Sequential(*(ResidualBlock(width) for _ in range(config.residual_blocks)))
        self.blocks = _up_blocks(width, doublings)
        self.head = nn.Conv2d(width // 2**doublings, 3, 3, 1, 1, bias=False)
        self.train(self.training)

    @property
    def noise_widths(self) -> tuple[int, ...]:
        """Numbers of z, and of the noise of Stage I's augmentation and of its own."""
        return (*self.first_stage.noise_widths, self.config.condition_dim)

    def train(self, mode: bool = True) -> StageTwoGenerator:
        """Stage I stays in evaluation mode whatever is asked."""
        super().train(mode)
        self.first_stage.eval()
        return self

    def initialise(self) -> None:
        """Normal weights of deviation .02; Stage I's are loaded over those."""
        initialise_normally(self)

    def sample_noise(
        self, keys: Sequence[str], seed: int, latent_keys: Sequence[str] | None = None
    ) -> tuple[Tensor, ...]:
        """z (B, noise_dim) and (B, condition_dim) of either stage's augmentation; see
        `s2i.models.interfaces.Generator`."""
        latent, *conditions = caption_noise(keys, seed, self.noise_widths)
        if latent_keys is not None:
            latent, *_ = caption_noise(latent_keys, seed, self.noise_widths)
        return (latent, *conditions)

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """The same of a training step, from torch's global random state."""
        return batch_noise(count, self.noise_widths, device)

    def forward(
        self,
        encoding: CaptionEncoding,
        noise: Tensor,
        first_condition_noise: Tensor,
        condition_noise: Tensor,
        stages: int | None = None,
    ) -> GeneratorOutput:
        """Generate one image of each of B captions. No gradient goes to, or through, Stage I."""
        with torch.no_grad():
            small = self.first_stage(encoding, noise, first_condition_noise).images[-1]  # s_0
        mu, logvar = self.augmentation(encoding.sentence)
        condition = mu + (0.5 * logvar).exp() * condition_noise  # c = mu + sigma eps
        hidden = self.encoder(small)
        joined = convolve_tiled(hidden, condition, self.join[0].weight)
        hidden = self.residuals(self.join[1:](joined))  # G(s_0, c): no noise of its own
        return GeneratorOutput([self.head(self.blocks(hidden)).float().tanh()], [], mu, logvar)


class ConditionalDiscriminator(Discriminator):
    """StackGAN-v2's discriminator with its conditional head alone, which is StackGAN's."""

    unconditional_logits = None  # see `s2i.models.interfaces.Discriminator`

    def __init__(
        self,
        config: DiscriminatorConfig,
        image_size: int,
        condition: int,
        classes: int = 0,
        contrastive: bool = False,
    ) -> None:
        super().__init__(config, image_size, condition, classes, contrastive)
        self.unconditional = None

    def initialise(self) -> None:
        """Normal weights of deviation .02; a layer with spectral norm stays as it is."""
        if self.config.norm != "spectral":
            initialise_normally(self)


def _up_blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(UpBlock(channels // 2**i, channels // 2 ** (i + 1)) for i in range(count)))
