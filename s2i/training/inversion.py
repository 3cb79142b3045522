"""A trained generator waits while a posterior that starts anew beside it learns to invert it.

An exported model keeps neither posterior nor discriminators. If its generator went on at once with a
posterior that knows nothing of its latents, it would unlearn them: by the time both agree it has begun anew.
In-domain inversion (Zhu et al., ECCV 2020) likewise fits an encoder to a generator that doesn't move; here it
also reads the latents off generated images, for which they are known, as BiGAN's inference network does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config import GanConfig
from s2i.models.feature_posterior import FeaturePosterior
from s2i.models.posterior import Posterior

# Beside a perceptual weight of 10. With it the images of CUB's preset `small` at 128 px are generated again
# better after 40 steps than after 100 without it.
WEIGHT = 10.0


def generator_waits(config: GanConfig, step: int) -> bool:
    """Whether the generator and its prior stay as they are at `step` (from 0)."""
    return step < config.generator_start * config.steps


def inversion_loss(
    posterior: Posterior | FeaturePosterior, images: Tensor, sentences: Tensor, latents: Tensor
) -> Tensor:
    """Mean squared difference of the latents that images were generated from and what is inferred of them.

    Args:
        images: (B, 3, S, S) in [-1, 1]; sentences: (B, D); latents: (B, Z); none of their history is used.
    """
    mixtures = torch.randn(len(images), 3, device=images.device)
    mu, _ = posterior(images.detach(), sentences.detach(), mixtures)
    return F.mse_loss(mu, latents.detach())


def hold(generator: nn.Module) -> None:
    """Forget the gradients of a generator that waits: its optimiser passes it over."""
    for weight in generator.parameters():
        weight.grad = None
