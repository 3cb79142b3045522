"""A discriminator on the features of a frozen network (Projected GAN, Sauer et al., NeurIPS 2021).

Departures, for small machines and small data: heads are narrow; they have no batch norm, so that an image's
logits depend on that image alone, and no other norm in its place: one within an image hides from them how
strong its features are (recipes/cub/EXPERIMENTS.md has what was tried); and the maps are mixed across scales
as the paper writes it, by 3x3 convolutions, where its code has 1x1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from s2i.config_networks import DiscriminatorConfig
from s2i.models.feature_network import FeatureNetwork

PROJECTION = 64  # numbers of an image and of its condition in whose inner product they meet
_SHARE = 0.5**0.5  # of a sum of two maps, so that it has their deviation


class Mixing(nn.Module):
    """Random, frozen 1x1 convolutions across channels, and 3x3 ones from the deepest scale up: each head then
    has a say on every part of the features that are below its scale, and can't choose to look at a few."""

    def __init__(self, channels: Sequence[int], mixed: Sequence[int]) -> None:
        """`channels`: of the maps, the widest map first; `mixed`: of what is made of each."""
        super().__init__()
        self.across_channels = nn.ModuleList(
            nn.Conv2d(before, after, 1) for before, after in zip(channels, mixed, strict=True)
        )
        self.across_scales = nn.ModuleList(
            nn.Conv2d(deeper, after, 3, 1, 1) for after, deeper in zip(mixed, mixed[1:], strict=False)
        )
        for convolution in (*self.across_channels, *self.across_scales):
            nn.init.kaiming_normal_(convolution.weight)
            nn.init.zeros_(convolution.bias)
        self.requires_grad_(False)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """One (B, C, h, w) a scale -> one (B, C', h, w) a scale."""
        mixed = [convolution(each) for convolution, each in zip(self.across_channels, maps, strict=True)]
        for scale in reversed(range(len(mixed) - 1)):
            size = mixed[scale].shape[-2:]
            enlarged = F.interpolate(mixed[scale + 1], size, mode="bilinear", align_corners=False)
            mixed[scale] = _SHARE * (mixed[scale] + self.across_scales[scale](enlarged))
        return mixed


class Head(nn.Module):
    """A small discriminator on the map of one scale: halvings down to 4 places, one logit, and a vector to be
    compared with the condition."""

    def __init__(self, channels: int, side: int, width: int) -> None:
        """`channels`, `side` of the map; `width`: channels of the layers."""
        super().__init__()
        layers: list[nn.Module] = []
        while side > 4:
            layers += [spectral_norm(nn.Conv2d(channels, width, 4, 2, 1)), nn.LeakyReLU(0.2)]
            channels, side = width, side // 2
        layers += [spectral_norm(nn.Conv2d(channels, width, 3, 1, 1)), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers)
        self.logit = spectral_norm(nn.Conv2d(width, 1, 3, 1, 1))
        self.vector = spectral_norm(nn.Conv2d(width, PROJECTION, 3, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, h) -> (B, 1 + PROJECTION), float32: the logit, and the vector; means over places."""
        hidden = self.trunk(maps)
        outputs = self.logit(hidden), self.vector(hidden)
        return torch.cat([output.float().mean((2, 3)) for output in outputs], 1)


class ProjectedDiscriminator(nn.Module):
    """Heads over the mixed maps of a frozen network, one a scale; logits are (B, heads).

    The network is not part of the module. `look` goes through all that is frozen, `forward` through all that
    learns: what was seen of a generated image serves both sides of a step, with history and without.

    Attributes:
        log_name: under which its terms are logged.
    """

    def __init__(
        self,
        config: DiscriminatorConfig,
        image_size: int,
        condition: int,
        classes: int = 0,
        contrastive: bool = False,
        *,
        network: FeatureNetwork,
    ) -> None:
        """`image_size`: side of the images in px, for the log; `network`: what it looks through; the others
        as of `s2i.models.interfaces.Discriminator`."""
        super().__init__()
        self.log_name = f"{image_size}_features"
        self.joint = config.joint
        self.mixing = Mixing(network.channels, config.mixed_channels)
        self.heads = nn.ModuleList(
            Head(channels, side, config.head_channels)
            for channels, side in zip(config.mixed_channels, network.sides, strict=True)
        )
        self.condition = nn.Linear(condition, len(self.heads) * PROJECTION)
        self.classifier = nn.Linear(len(self.heads) * PROJECTION, classes) if classes else None
        self._network = [network]  # in a list, out of the module's sight

    def initialise(self) -> None:
        """As the constructor leaves them."""

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """All weights but those of the mixing."""
        modules = (self.heads, self.condition, *([self.classifier] if self.classifier else []))
        return chain.from_iterable(module.parameters() for module in modules)

    def look(self, images: Tensor) -> list[Tensor]:
        """What the heads see of images (B, 3, S, S) in [-1, 1]: one map (B, C, h, h) a scale."""
        return self.mixing(self._network[0](images))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """What `look` returns -> (B, heads, 1 + PROJECTION), float32: a logit and a vector of each head."""
        return torch.stack([head(each) for head, each in zip(self.heads, maps, strict=True)], 1)

    def unconditional_logits(self, features: Tensor) -> Tensor:
        """Logits (B, heads) of "real"."""
        return features[:, :, 0]

    def conditional_logits(self, features: Tensor, condition: Tensor) -> Tensor:
        """Logits (B, heads) of "real, and of this caption": the inner product of the image's vector with the
        condition's, over the root of their width; where `joint`, the unconditional logit added (Miyato and
        Koyama 2018). condition: (B, C)."""
        vectors = features[:, :, 1:]
        products = (vectors * self._of_condition(condition)).sum(2) / PROJECTION**0.5  # D(x, c), projected
        return products + features[:, :, 0] if self.joint else products

    def embed(self, features: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (B, heads * PROJECTION) of images and captions, to be matched."""
        return features[:, :, 1:].flatten(1), self._of_condition(condition).flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, classes); where it has a class head."""
        return self.classifier(features[:, :, 1:].flatten(1))

    def _of_condition(self, condition: Tensor) -> Tensor:
        return self.condition(condition).float().unflatten(1, (len(self.heads), PROJECTION))
