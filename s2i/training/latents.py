"""Latents of a training step's images: noise, or what a generator's learnt prior makes of it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from s2i.config import Config
from s2i.errors import InputError
from s2i.models.generator import GeneratorOutput
from s2i.models.interfaces import Generator

STEPS = 4  # in which a training step integrates the flow: near enough for an adversary


def sample_latents(generator: Generator, noise: Tensor, sentence: Tensor, guided: bool) -> Tensor:
    """Latents (B, Z) of noise (B, Z) and sentences (B, D), without history.

    `guided`: as generation samples them (`gan.guided`), but in fewer steps; else as those of real images are
    distributed.
    """
    prior = getattr(generator, "prior", None)
    return noise if prior is None else prior(noise, sentence, STEPS, guided=guided)


def refuse_prior(config: Config) -> None:
    """Raises InputError for a learnt prior in a training without a posterior, from which it would learn."""
    if config.generator.prior != "normal":
        raise InputError(
            "expected generator.prior=normal where no posterior infers latents, found"
            f" {config.generator.prior}: change it"
        )


def decoder(generator: Generator) -> Callable[..., GeneratorOutput]:
    """What generates from latents: `decode` of a generator with a prior, else the generator itself."""
    return generator if getattr(generator, "prior", None) is None else generator.decode
