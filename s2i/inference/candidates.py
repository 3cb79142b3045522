"""The best of several images of a caption, as the path's own image encoder sees them.

A generator misses now and then what its encoder has understood, or makes no whole image of it, and that
depends on the noise. Ramesh et al. (2021, section 2.6) rerank generated images by a network that was trained
to match images with captions; a path has such a network, the image encoder of its training. Where that
stands on a pretrained network, an image counts for less the farther its features are from their neighbours
among training's (Kynkäänniemi et al., 2019, section 5, judge how realistic single images are by such
distances). Images are chosen so, not changed: fewer kinds of them come out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.metrics.neighbours import Neighbours
from s2i.models.generator import GeneratorOutput
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder

# Weight of the distance from training's images, in units of their reach, beside a cosine. By captions of
# validation and of training: most of what it can gain, at a fifth of what captions gain (recipes/cub).
UNLIKENESS = 2.0


def candidate_keys(keys: Sequence[str], candidate: int) -> list[str]:
    """The keys of the noise of a candidate, from 0; the first has the captions' own."""
    return [f"{key} candidate {candidate}" for key in keys] if candidate else list(keys)


def rule_of(training_images: Neighbours) -> str:
    """SHA-256, in hexadecimal digits, of what `suitability` does with them."""
    return hashlib.sha256(f"{UNLIKENESS} {training_images.fingerprint}".encode()).hexdigest()


def suitability(
    encoder: ImageEncoder | PretrainedImageEncoder, sentence: Tensor, training_images: Neighbours | None
) -> Callable[[Tensor], Tensor]:
    """How well generated images (B, 3, S, S) suit their captions, as a function of them: (B,).

    Args:
        encoder: of images, matched with that of the captions.
        sentence: (B, D) of length 1.
        training_images: by the features of the encoder's pretrained network; None: only captions count.
    """

    def score(images: Tensor) -> Tensor:
        if training_images is None:
            return cosine(encoder(images)[0])
        features, _ = encoder.look(images)
        distance = training_images.distance(features).to(sentence)
        return cosine(encoder.project(features, None)[0]) - UNLIKENESS * distance

    def cosine(vectors: Tensor) -> Tensor:
        return (F.normalize(vectors.float(), dim=1) * sentence).sum(1)

    return score


def best_of(
    candidates: int, generate: Callable[[int], GeneratorOutput], score: Callable[[Tensor], Tensor]
) -> GeneratorOutput:
    """Of each of B captions the candidate with the highest score; of equals the first.

    Args:
        candidates: 1 or more.
        generate: a candidate's number -> its output for the B captions.
        score: images of the last stage (B, 3, S, S) -> (B,).
    """
    best = generate(0)
    highest = score(best.images[-1])
    for candidate in range(1, candidates):
        output = generate(candidate)
        its_score = score(output.images[-1])
        is_better = its_score > highest
        highest = torch.where(is_better, its_score, highest)
        best = _choose(is_better, output, best)
    return best


def _choose(first: Tensor, output: GeneratorOutput, other: GeneratorOutput) -> GeneratorOutput:
    """Row by row: of `output` where `first` (B,), else of `other`."""

    def rows(value: Tensor, instead: Tensor) -> Tensor:
        return torch.where(first.view(-1, *[1] * (value.dim() - 1)), value, instead)

    def all_rows(values: list[Tensor], others: list[Tensor]) -> list[Tensor]:
        return [rows(value, instead) for value, instead in zip(values, others, strict=True)]

    return GeneratorOutput(
        all_rows(output.images, other.images),
        all_rows(output.attention, other.attention),
        None if output.mu is None else rows(output.mu, other.mu),
        None if output.logvar is None else rows(output.logvar, other.logvar),
    )
