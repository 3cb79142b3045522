"""Stacked generator: one for speech and text, for S2IGAN's, StackGAN-v2's and AttnGAN's layouts and ours.

Stage 0 makes a map from condition and noise, each later stage refines and doubles it; each has an image head.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_networks import GeneratorConfig
from s2i.models.blocks import ConditioningAugmentation, Gate, Norm, Residual, SegmentAttention, Upsample
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.flow_prior import FlowPrior
from s2i.models.noise import batch_noise, caption_noise
from s2i.models.tiled_convolution import convolve_tiled


@dataclass(frozen=True)
class GeneratorOutput:
    """What a generator returns.

    Attributes:
        images: one (B, 3, S, S) float32 in [-1, 1] a stage, smallest first.
        attention: one (B, T, H, W) a stage that attends; empty without attention.
        mu, logvar: (B, C) of conditioning augmentation; None of a generator without it.
    """

    images: list[Tensor]
    attention: list[Tensor]
    mu: Tensor | None = None
    logvar: Tensor | None = None


class FirstStage(nn.Module):
    """Condition and noise -> (B, channels, base_size, base_size)."""

    def __init__(self, config: GeneratorConfig, channels: int, modulation: int) -> None:
        super().__init__()
        doublings = int(log2(config.base_size // 4))
        self.widest = channels * 2**doublings
        self.linear = nn.Linear(config.condition_dim + config.noise_dim, self.widest * 16 * 2, bias=False)
        self.norm = nn.BatchNorm1d(self.widest * 16 * 2)
        self.blocks = nn.ModuleList(
            Upsample(
                self.widest // 2**i,
                self.widest // 2 ** (i + 1),
                config.upsample,
                config.activation,
                modulation,
            )
            for i in range(doublings)
        )

    def forward(self, code: Tensor) -> Tensor:
        """(B, condition_dim + noise_dim) -> (B, channels, base_size, base_size)."""
        # h_0 = F_0(c, z)
        hidden = F.glu(self.norm(self.linear(code)), 1).unflatten(1, (self.widest, 4, 4))
        for block in self.blocks:
            hidden = block(hidden, code)
        return hidden


class TiledConvolution(nn.Conv2d):
    """A convolution of maps and of a condition that is the same at every place."""

    def forward(self, maps: list[Tensor], condition: Tensor) -> Tensor:
        """Maps (B, ..., H, W) and condition (B, C) -> (B, out_channels, H, W)."""
        hidden = maps[0] if len(maps) == 1 else torch.cat(maps, 1)
        return convolve_tiled(hidden, condition, self.weight, self.bias)


class NextStage(nn.Module):
    """A map and the caption -> the map at twice the size."""

    def __init__(
        self, config: GeneratorConfig, embedding: int, before: int, after: int, modulation: int
    ) -> None:
        super().__init__()
        self.config = config
        self.attention = SegmentAttention(embedding, before) if config.attention else None
        extra = before if config.attention and not config.add_context else 0
        # AttnGAN keeps the widened map through its residual blocks; StackGAN-v2 first joins to one width.
        gate = Gate(config.activation)
        self.join = self.join_norm = None
        if config.tile:
            joined = before + extra + config.condition_dim
            self.join = TiledConvolution(joined, gate.widening * before, 3, 1, 1, bias=False)
            self.join_norm = Norm(gate.widening * before, modulation)
        self.gate = gate
        inner = before if config.tile else before + extra
        self.residuals = nn.ModuleList(
            Residual(inner, config.activation, modulation) for _ in range(config.residual_blocks)
        )
        skip = before if config.dense else 0
        self.upsample = Upsample(inner + skip, after, config.upsample, config.activation, modulation)

    def forward(
        self, hidden: Tensor, encoding: CaptionEncoding, condition: Tensor, code: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """(B, before, H, W) -> (B, after, 2H, 2W) and the attention (B, T, H, W), if any."""
        maps, attention = [hidden], None
        if self.attention is not None:
            context, attention = self.attention(hidden, encoding.sequence, encoding.mask)
            maps = [hidden + context] if self.config.add_context else [hidden, context]
        if self.join is not None:
            inner = self.gate(self.join_norm(self.join(maps, condition), code))  # tiled condition
        else:
            inner = torch.cat(maps, 1)
        for block in self.residuals:
            inner = block(inner, code)
        if self.config.dense:
            inner = torch.cat((inner, hidden), 1)  # dense stacking
        return self.upsample(inner, code), attention


class StackedGenerator(nn.Module):
    """CaptionEncoding and noise -> images at each stage's size.

    `base_size` is 4 times a power of two.

    Attributes:
        prior: what makes a latent of the noise, before it is decoded; None where the noise is the latent.
    """

    def __init__(self, config: GeneratorConfig, embedding: int) -> None:
        super().__init__()
        self.config = config
        self.augmentation = ConditioningAugmentation(embedding, config.condition_dim)
        modulation = config.condition_dim + config.noise_dim if config.conditional_batch_norm else 0
        widths = stage_widths(config)
        self.first = FirstStage(config, widths[0], modulation)
        self.later = nn.ModuleList(
            NextStage(config, embedding, before, after, modulation)
            for before, after in zip(widths, widths[1:], strict=False)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, 3, 3, 1, 1, bias=False) for width in widths)
        self.sizes = [config.base_size * 2**stage for stage in range(config.stages)]
        self.prior = FlowPrior(config, embedding) if config.prior == "flow" else None

    def initialise(self) -> None:
        """Orthogonal weights, the configured standard deviation of the condition and, where images
        accumulate, later stages that begin by adding nothing to the image before."""
        initialise_orthogonally(self)
        self.augmentation.start_with(self.config.init_std)
        if self.config.image_skips:
            for head in self.heads[1:]:
                nn.init.zeros_(head.weight)
        if self.prior is not None:
            self.prior.initialise()

    def sample_noise(
        self, keys: Sequence[str], seed: int, latent_keys: Sequence[str] | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, noise_dim) and (B, condition_dim) standard normal numbers, as `forward` takes them; see
        `s2i.models.interfaces.Generator`."""
        latent, condition = caption_noise(keys, seed, self._noise_widths)
        if latent_keys is not None:
            latent, _ = caption_noise(latent_keys, seed, self._noise_widths)
        return latent, condition

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """The same of a training step, from torch's global random state."""
        return batch_noise(count, self._noise_widths, device)

    @property
    def _noise_widths(self) -> tuple[int, int]:
        return self.config.noise_dim, self.config.condition_dim

    def forward(
        self,
        encoding: CaptionEncoding,
        noise: Tensor,
        condition_noise: Tensor | None,
        stages: int | None = None,
    ) -> GeneratorOutput:
        """Generate.

        Args:
            encoding: of B captions.
            noise: (B, noise_dim) standard normal.
            condition_noise: (B, condition_dim) standard normal of conditioning augmentation; None: use mu.
            stages: generate so many of the stages alone; None: all.
        """
        latent = noise if self.prior is None else self.prior(noise, encoding.sentence)
        return self.decode(encoding, latent, condition_noise, stages)

    def guided(self, guidance: float) -> StackedGenerator:
        """This generator, its weights shared, with another guidance of its prior."""
        other = copy(self)
        other._modules = {**self._modules, "prior": copy(self.prior)}
        other.prior.guidance = guidance
        return other

    def decode(
        self,
        encoding: CaptionEncoding,
        latent: Tensor,
        condition_noise: Tensor | None,
        stages: int | None = None,
    ) -> GeneratorOutput:
        """Generate from latents (B, noise_dim), as a posterior infers or the prior samples them; otherwise as
        `forward`."""
        mu, logvar = self.augmentation(encoding.sentence)
        # c = mu + sigma eps
        condition = mu if condition_noise is None else mu + (0.5 * logvar).exp() * condition_noise
        code = torch.cat((condition, latent), 1)
        hidden = self.first(code)
        colours = self.heads[0](hidden).float()
        images, attentions = [colours.tanh()], []
        for stage, head in list(zip(self.later, self.heads[1:], strict=True))[: stages and stages - 1]:
            hidden, attention = stage(hidden, encoding, condition, code)
            before, colours = colours, head(hidden).float()
            if self.config.image_skips:
                colours = colours + F.interpolate(before, scale_factor=2, mode="bilinear")
            images.append(colours.tanh())  # x_i = tanh(conv(h_i))
            if attention is not None:
                attentions.append(attention)
        return GeneratorOutput(images, attentions, mu, logvar)


def stage_widths(config: GeneratorConfig) -> list[int]:
    """Channels at the end of each stage."""
    if config.keep_channels:
        return [config.channels] * config.stages
    return [max(config.min_channels, config.channels // 2**i) for i in range(config.stages)]


def initialise_orthogonally(network: nn.Module) -> None:
    """Orthogonal weights for every convolution and linear layer, zero biases (StackGAN-v2, S2IGAN, AttnGAN).

    Modulations of norms are left near zero: they start as plain norms.
    """
    modulations = {module.modulation for module in network.modules() if isinstance(module, Norm)}
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)) and module not in modulations:
            nn.init.orthogonal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
