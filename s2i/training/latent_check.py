"""What a posterior asks of the generator whose latents it infers."""

from __future__ import annotations

import torch

from s2i.config import Config
from s2i.errors import InputError
from s2i.models.interfaces import Generator


def check_latent(config: Config, generator: Generator) -> None:
    """Raises InputError for a generator whose noise does not begin with a latent (B, `generator.noise_dim`),
    which is what a posterior infers of a real image."""
    sizes_alone = torch.device("meta")  # nothing is drawn: a training's random numbers stay what they were
    widths = [list(tensor.shape[1:]) for tensor in generator.sample_batch_noise(2, sizes_alone)]
    if widths[:1] != [[config.generator.noise_dim]]:
        noise = f"noise of {widths} numbers" if widths else "no noise"
        raise InputError(
            f"expected a generator whose noise begins with {config.generator.noise_dim} numbers"
            " (generator.noise_dim) for gan.reconstruction_weight or gan.perceptual_weight, found"
            f" {type(generator).__name__} with {noise}: set both weights to 0"
        )
