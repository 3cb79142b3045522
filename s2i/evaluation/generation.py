"""Captions of a caption set to images, batch by batch, each from its own noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from s2i.evaluation.captions import CaptionSet, caption_key
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput


@dataclass(frozen=True)
class GeneratedBatch:
    """`places`: (B,) where its captions stand among those to generate."""

    places: np.ndarray
    encoding: CaptionEncoding
    output: GeneratorOutput


@dataclass(frozen=True)
class GeneratedCaption:
    """What one caption's generation gave, on the CPU.

    `images`: one (3, S, S) in [-1, 1] a stage, smallest first; `attention`: (T, H, W) of the last stage, None
    without attention; `segments`: how many of the T are valid.
    """

    images: list[Tensor]
    attention: Tensor | None
    segments: int

    @classmethod
    def of(cls, batch: GeneratedBatch, row: int) -> GeneratedCaption:
        """One row of a batch; it keeps none of the others alive."""
        output = batch.output
        return cls(
            [images[row].cpu().clone() for images in output.images],
            output.attention[-1][row].cpu().clone() if output.attention else None,
            int(batch.encoding.mask[row].sum()),
        )


def generate_captions(
    captions: CaptionSet, indices: np.ndarray, share_noise: bool = False
) -> Iterator[GeneratedBatch]:
    """Generate captions, rising indices in the pack.

    Args:
        share_noise: the captions of an image have one noise together, as in S2IGAN's script; the noise of
            conditioning augmentation stays each one's own.
    """
    path, pack, seed = captions.path, captions.pack, captions.settings.seed
    for batch, places in captions.batches(indices, "generation"):
        rows = batch.captions.tolist()
        keys = [caption_key(pack, index) for index in rows]
        images = [pack.records[pack.caption_image[index]].id for index in rows] if share_noise else None
        encoding = path.encode(batch)
        yield GeneratedBatch(places, encoding, path.generate(encoding, keys, seed, images))
