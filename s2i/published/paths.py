"""A path from captions to pictures, of published parts."""

from __future__ import annotations

from dataclasses import replace

import torch

from s2i.config import Config
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.models.build import CaptionEncoder
from s2i.models.generator import StackedGenerator
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.pipeline import DrawingPath


def make_path(
    config: Config,
    generator: StackedGenerator,
    encoder: CaptionEncoder | None,
    origins: dict[str, str],
    vocabulary: Vocabulary | None = None,
    image_encoder: PretrainedImageEncoder | None = None,
) -> DrawingPath:
    """Put a generator behind an encoder.

    Args:
        config: of the encoder; the generator's is filled in.
        origins: the files of "generator" and "encoder", for errors.
        image_encoder: that the encoder was matched with, for search.

    Raises:
        InputError: the generator draws from embeddings of another width.
    """
    config = replace(config, generator=generator.config)
    wanted = generator.augmentation.linear.in_features
    if wanted != config.embedding:
        source = origins.get("encoder", "an encoder of two directions")
        raise InputError(
            f"expected embeddings of {wanted} numbers for the generator in {origins['generator']},"
            f" found {config.embedding} of {source}: the two were not trained together"
        )
    return DrawingPath(
        config=config,
        vocabulary=vocabulary,
        step=0,
        device=torch.device("cpu"),
        encoder=encoder,
        image_encoder=image_encoder,
        generator=generator,
    )
