"""A posterior that looks through a frozen, pretrained network: latents from which images are generated again.

The one of `s2i.models.posterior`, trained from nothing, collapses on photographs: within hundreds of steps
its noise says nothing, since reading a pose off a photograph is harder than doing without. Pretrained
features say what is where from the first step on, and `mu` is normalised over the batch, so that the latent
can't fall silent (BN-VAE, Zhu et al., ACL 2020). Its deviation is the same everywhere: an autoencoder's
latent with noise on it, whose distribution is not held to a normal one but learnt
(`s2i.models.flow_prior`). It therefore sees all of an image, colours too: the prior knows the caption.
"""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.models.feature_network import FeatureNetwork
from s2i.models.gradient_layout import flatten_map

GRID = 12  # rows and columns of averaged colours
_WIDTHS = (32, 64, 128)  # of what is read of the maps at strides 8, 16 and 32


class FeaturePosterior(nn.Module):
    """A real image's features and colours -> a Gaussian over latents."""

    def __init__(
        self, latent_dim: int, network: FeatureNetwork, spread: float = 0.3, hidden: int = 512
    ) -> None:
        """
        Args:
            latent_dim: Z.
            network: what it looks through; not part of the module.
            spread: the Gaussian's deviation; that of `mu` over a batch is 1.
            hidden: width of its layers.
        """
        super().__init__()
        channels, sides = network.channels[1:], network.sides[1:]  # what is finer than 8 px is no pose
        self.readers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 1), nn.LeakyReLU(0.2))
            for before, after in zip(channels, _WIDTHS, strict=True)
        )
        flat = sum(width * side**2 for width, side in zip(_WIDTHS, sides, strict=True)) + 3 * GRID**2
        self.join = nn.Sequential(
            nn.Linear(flat, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2)
        )
        self.mu = nn.Sequential(nn.Linear(hidden, latent_dim), nn.BatchNorm1d(latent_dim, affine=False))
        self.logvar = 2 * log(spread)
        self._network = [network]  # in a list, out of the module's sight

    def forward(self, images: Tensor, sentence: Tensor, mixtures: Tensor) -> tuple[Tensor, Tensor]:
        """Infer the latent.

        Args:
            images: (B, 3, S, S) in [-1, 1].
            sentence, mixtures: as of `s2i.models.posterior.Posterior`, not read.

        Returns:
            mu, log variance: (B, Z) each, float32.
        """
        with torch.no_grad():
            maps = self._network[0](images)[1:]
        inputs = [flatten_map(reader(each)) for reader, each in zip(self.readers, maps, strict=True)]
        inputs.append(2 * F.adaptive_avg_pool2d(images, GRID).flatten(1))  # they vary by about 1
        mu = self.mu(self.join(torch.cat([each.float() for each in inputs], 1))).float()
        return mu, torch.full_like(mu, self.logvar)
