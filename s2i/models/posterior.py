"""Posterior of a conditional variational autoencoder: the noise from which a caption gives this image.

By default its input has the shapes of the image without the colours, which the caption gives: a generator
that gets the colours from the noise in training, and not when it generates, learns to ignore the caption.

CVAE (Sohn et al. 2015) with a GAN's generator as its decoder (CVAE-GAN, Bao et al. 2017; BicycleGAN, Zhu et
al. 2017). No published speech-to-image system has one. Generation needs none: it stays behind with the
training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2i.models.gradient_layout import flatten_map

IMAGE_SIDE = 32  # px of its input: pose, light and background show in them
_WIDTHS = (24, 48, 96)


class Posterior(nn.Module):
    """A real image, with or without its colours, and its caption's sentence -> a Gaussian over noise.

    It also gets the caption, so that the noise need not repeat what the caption says: information costs.
    """

    def __init__(self, embedding_dim: int, noise_dim: int, hidden: int = 256, sees: str = "mixture") -> None:
        """`sees`: of an image one random "mixture" of its colours, "grey", or all its "colours"."""
        super().__init__()
        self.sees = sees
        layers: list[nn.Module] = []
        before = 3 if sees == "colours" else 1
        for width in _WIDTHS:
            layers += [nn.Conv2d(before, width, 4, 2, 1), nn.LeakyReLU(0.2)]
            before = width
        self.backbone = nn.Sequential(*layers)
        flat = before * (IMAGE_SIDE // 2 ** len(_WIDTHS)) ** 2
        self.join = nn.Sequential(nn.Linear(flat + embedding_dim, hidden), nn.LeakyReLU(0.2))
        self.out = nn.Linear(hidden, 2 * noise_dim)
        nn.init.zeros_(self.out.weight)  # begins as the prior
        nn.init.zeros_(self.out.bias)

    def forward(self, images: Tensor, sentence: Tensor, mixtures: Tensor) -> tuple[Tensor, Tensor]:
        """Find the noise.

        Args:
            images: (B, 3, S, S) in [-1, 1].
            sentence: (B, D).
            mixtures: (B, 3) standard normal, see `mix_colours`; read where it sees a mixture.

        Returns:
            mu, log variance: (B, noise_dim) each, float32.
        """
        small = nn.functional.adaptive_avg_pool2d(images, IMAGE_SIDE)
        shown = small if self.sees == "colours" else shown_channel(small, mixtures, self.sees)
        joined = torch.cat((flatten_map(self.backbone(shown)), sentence.to(small.dtype)), 1)
        mu, logvar = self.out(self.join(joined)).float().chunk(2, 1)
        return mu, logvar


def mix_colours(images: Tensor, mixtures: Tensor) -> Tensor:
    """One channel of each image, with mean 0 and deviation 1: its shapes are left, its colours are not.

    Args:
        images: (B, 3, H, W); mixtures: (B, 3), a weight of red, green and blue each, of either sign.

    Returns:
        (B, 1, H, W).
    """
    # one mixture of the colours
    mixed = torch.einsum("bchw,bc->bhw", images, mixtures / mixtures.norm(dim=1, keepdim=True))
    mixed = mixed - mixed.mean((1, 2), keepdim=True)
    return (mixed / (mixed.std((1, 2), keepdim=True) + 1e-3)).unsqueeze(1)


def shown_channel(images: Tensor, mixtures: Tensor, sees: str) -> Tensor:
    """The channel (B, 1, H, W) of images that a posterior sees: of their "mixture", or of "grey"."""
    return mix_colours(images, torch.ones_like(mixtures) if sees == "grey" else mixtures)
