"""The best of several images of a caption: that which the path's own image encoder finds nearest to it.

A generator misses now and then what its encoder has understood, and what it misses depends on the noise.
Ramesh et al. (2021, section 2.6) rerank generated images by a network that was trained to match images with
captions; a path has such a network, the image encoder of its training. Images are chosen so, not changed:
fewer kinds of them come out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from s2i.models.generator import GeneratorOutput


def candidate_keys(keys: Sequence[str], candidate: int) -> list[str]:
    """The keys of the noise of a candidate, from 0; the first has the captions' own."""
    return [f"{key} candidate {candidate}" for key in keys] if candidate else list(keys)


def nearest_of(
    candidates: int, generate: Callable[[int], GeneratorOutput], similarity: Callable[[Tensor], Tensor]
) -> GeneratorOutput:
    """Of each of B captions the candidate whose image is most similar to it; of equals the first.

    Args:
        candidates: 1 or more.
        generate: a candidate's number -> its output for the B captions.
        similarity: images of the last stage (B, 3, S, S) -> of each with its caption: (B,).
    """
    best = generate(0)
    highest = similarity(best.images[-1])
    for candidate in range(1, candidates):
        output = generate(candidate)
        score = similarity(output.images[-1])
        is_better = score > highest
        highest = torch.where(is_better, score, highest)
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
