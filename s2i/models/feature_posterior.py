"""A posterior that looks through a frozen, pretrained network: the noise from which a caption gives an image.

The one of `s2i.models.posterior`, trained from nothing, collapses on photographs: within hundreds of steps
its noise says nothing, since reading a pose off a photograph is harder than doing without. Pretrained
features say what is where from the first step on, and `mu` is normalised over the batch, so that the noise
can't fall silent (BN-VAE, Zhu et al., ACL 2020).

As there, the bird's colours are left to the caption. What a caption never says is the ground it stands on:
its colours may be shown too, as those of the image's surroundings.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.models.feature_network import FeatureNetwork
from s2i.models.posterior import shown_channel

GRID = 6  # rows and columns of averaged colours, of which the outer ones are the surroundings
_WIDTHS = (24, 64, 128)  # of what is read of the maps at strides 8, 16 and 32
_RANGE = 2.0  # standard deviations of the shown channel that reach from -1 to 1
_FIRST_LOGVAR = -1.0


class FeaturePosterior(nn.Module):
    """Features of a real image's shapes, its surroundings, and its caption's sentence -> a Gaussian over
    noise."""

    def __init__(
        self,
        embedding_dim: int,
        noise_dim: int,
        network: FeatureNetwork,
        *,
        sees: str = "mixture",
        surroundings: bool = False,
        deviation: float = 0.75,
        hidden: int = 384,
    ) -> None:
        """
        Args:
            network: what it looks through; not part of the module.
            sees: as of `Posterior`.
            surroundings: whether it also sees the colours around the image's middle.
            deviation: of `mu` over a batch. With the spread of the noise itself it makes up the prior's 1.
        """
        super().__init__()
        self.sees, self.surroundings, self.deviation = sees, surroundings, deviation
        channels, sides = network.channels[1:], network.sides[1:]  # what is finer than 8 px is no pose
        self.readers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 1), nn.LeakyReLU(0.2), nn.Flatten())
            for before, after in zip(channels, _WIDTHS, strict=True)
        )
        flat = sum(width * side**2 for width, side in zip(_WIDTHS, sides, strict=True))
        flat += embedding_dim + (3 * (4 * GRID - 4) if surroundings else 0)
        self.join = nn.Sequential(
            nn.Linear(flat, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2)
        )
        self.mu = nn.Sequential(nn.Linear(hidden, noise_dim), nn.BatchNorm1d(noise_dim, affine=False))
        self.logvar = nn.Linear(hidden, noise_dim)
        nn.init.zeros_(self.logvar.weight)
        nn.init.constant_(self.logvar.bias, _FIRST_LOGVAR)
        self._network = [network]  # in a list, out of the module's sight

    def forward(self, images: Tensor, sentence: Tensor, mixtures: Tensor) -> tuple[Tensor, Tensor]:
        """Infer the noise.

        Args:
            images: (B, 3, S, S) in [-1, 1].
            sentence: (B, D).
            mixtures: (B, 3) standard normal, as of `Posterior`.

        Returns:
            mu, log variance: (B, noise_dim) each, float32.
        """
        with torch.no_grad():
            shown = images if self.sees == "colours" else self._shapes(images, mixtures)
            maps = self._network[0](shown)[1:]
        inputs = [reader(each) for reader, each in zip(self.readers, maps, strict=True)]
        inputs.append(F.normalize(sentence.float(), dim=1) * sentence.shape[1] ** 0.25)
        if self.surroundings:
            inputs.append(surrounding_colours(images))
        hidden = self.join(torch.cat([each.float() for each in inputs], 1))
        return self.deviation * self.mu(hidden).float(), self.logvar(hidden).float()

    def _shapes(self, images: Tensor, mixtures: Tensor) -> Tensor:
        channel = shown_channel(images, mixtures, self.sees) / _RANGE
        return channel.clamp(-1, 1).expand(-1, 3, -1, -1)


def surrounding_colours(images: Tensor) -> Tensor:
    """Mean colours of the outer cells of a grid over each image, twice over so that they vary by about 1.

    Args:
        images: (B, 3, H, W) in [-1, 1].

    Returns:
        (B, 3 * 20), channel by channel.
    """
    cells = F.adaptive_avg_pool2d(images, GRID).flatten(2)
    edge = {0, GRID - 1}
    outer = [row * GRID + column for row in range(GRID) for column in range(GRID) if {row, column} & edge]
    return 2 * cells[:, :, outer].flatten(1)
