"""A path from captions to images, assembled of published networks."""

from __future__ import annotations

from dataclasses import replace

import torch

from s2i.config import Config
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.inference.path import GenerationPath
from s2i.models.generator import StackedGenerator
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.models.interfaces import CaptionEncoder
from s2i.published.weights import Weights


def origins_of(networks: dict[str, Weights], names: dict[str, str]) -> dict[str, str]:
    """The file of the generator, and of each other network that is there; `names`: {role: its kind}."""
    others = {role: networks[kind].origin for role, kind in names.items() if kind in networks}
    return {"generator": networks["generator"].origin, **others}


def make_path(
    config: Config,
    generator: StackedGenerator,
    encoder: CaptionEncoder | None,
    origins: dict[str, str],
    vocabulary: Vocabulary | None = None,
    image_encoder: PretrainedImageEncoder | None = None,
) -> GenerationPath:
    """Put a generator behind an encoder.

    Args:
        config: of the encoder; the generator's is filled in.
        origins: the files of "generator", "encoder" and "image", for errors.
        image_encoder: that the encoder was matched with, for search.

    Raises:
        InputError: the generator generates from embeddings of another width, or the image encoder makes such.
    """
    config = replace(config, generator=generator.config)
    embedding = generator.augmentation.linear.in_features
    if embedding != config.embedding_dim:
        source = origins.get("encoder", "an encoder of two directions")
        raise InputError(
            f"expected embeddings of {embedding} numbers for the generator in {origins['generator']},"
            f" found {config.embedding_dim} of {source}: the two were not trained together"
        )
    if image_encoder is not None and image_encoder.region.out_channels != config.embedding_dim:
        raise InputError(
            f"expected an image encoder of {config.embedding_dim} numbers, as the caption encoder has, found"
            f" {image_encoder.region.out_channels} in {origins['image']}: the two were not trained together"
        )
    return GenerationPath(
        config=config,
        vocabulary=vocabulary,
        step=0,
        device=torch.device("cpu"),
        encoder=encoder,
        image_encoder=image_encoder,
        generator=generator,
    )
