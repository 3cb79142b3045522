"""Regions of images against segments of captions, a few images at a time (`s2i.losses.region_scores`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2i.float32 import in_float32
from s2i.matrix_products import products

AT_ONCE = 2**20  # products of a region and a segment that are made, and kept for the gradient, at once
# Of a larger batch, those that are kept for the gradient, four numbers each, 0.27 GB at most; others are made
# again.
KEPT = 2**24
_OF_A_PART = {"cpu": 2**19, "cuda": 2**25}  # else: what stays in a core's cache; what keeps a GPU busy


class RegionScores(torch.autograd.Function):
    """`region_scores` of a few images at a time, and its gradient, which makes again what it did not keep."""

    @staticmethod
    def forward(
        ctx: Any, regions: Tensor, sequence: Tensor, mask: Tensor, gamma1: float, gamma2: float
    ) -> Tensor:
        ctx.save_for_backward(regions, sequence, mask)
        ctx.gammas = gamma1, gamma2
        segments, scores = _Segments(sequence, mask), []
        ctx.kept, kept = [], 0
        with in_float32(regions):
            for part in _parts(regions, mask):
                comparison = _Comparison(part, segments, gamma1, gamma2)
                scores.append(comparison.scores)
                kept += comparison.attention.numel()
                if kept <= KEPT:
                    ctx.kept.append(comparison)
        return torch.cat(scores)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        regions, sequence, mask = ctx.saved_tensors
        segments = _Segments(sequence, mask)
        of_words, of_lengths, of_regions = torch.zeros_like(segments.words), 0, []
        with in_float32(regions):
            chunks = _parts(regions, mask)
            for number, (part, given) in enumerate(zip(chunks, gradient.split(len(chunks[0])), strict=True)):
                kept = number < len(ctx.kept)
                comparison = ctx.kept[number] if kept else _Comparison(part, segments, *ctx.gammas)
                of_part, of_products, lengths = comparison.gradients(given)
                of_regions.append(of_part)
                of_words += products(of_products, part.transpose(1, 2)).sum(0)
                of_lengths = of_lengths + lengths
        of_squares = torch.where(segments.squares >= _LEAST, of_lengths / segments.lengths, 0)
        of_words += of_squares[:, None] * segments.words
        padded = of_words.new_zeros(mask.numel(), of_words.shape[1]).index_copy(0, segments.places, of_words)
        of_sequence = padded.unflatten(0, mask.shape).transpose(1, 2)
        return torch.cat(of_regions), of_sequence, None, None, None


_LEAST = 1e-8  # of a squared length


def _parts(regions: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    most = _OF_A_PART.get(regions.device.type, AT_ONCE)
    return regions.split(max(1, most // (mask.numel() * regions.shape[2])))


class _Segments:
    """The N valid segments of all captions (C, D, T), one after the other: padding costs nothing.

    Attributes:
        words (N, D), their squared lengths and lengths (N,), places (N,) among C x T, captions (N,).
    """

    def __init__(self, sequence: Tensor, mask: Tensor) -> None:
        self.shape, self._empty = mask.shape, {}
        self.places = mask.flatten().nonzero()[:, 0]
        self.captions = self.places // mask.shape[1]
        self.words = sequence.transpose(1, 2).reshape(mask.numel(), -1)[self.places]
        self.squares = self.words.square().sum(1)
        self.lengths = self.squares.clamp(min=_LEAST).sqrt()

    def padded(self, values: Tensor) -> Tensor:
        """(B, N, ...) -> (B, C, T, ...), -inf in padding; good until the next call of as many numbers."""
        shape = (len(values), self.shape.numel(), *values.shape[2:])
        if shape not in self._empty:
            self._empty[shape] = values.new_full(shape, float("-inf"))
        return self._empty[shape].index_copy_(1, self.places, values).unflatten(1, self.shape)

    def softmax(self, values: Tensor) -> Tensor:
        """Over the segments of each caption: (B, N, ...)."""
        return self.padded(values).softmax(2).flatten(1, 2)[:, self.places]


class _Comparison:
    """A few images with all captions, named as in `region_scores`; (B, N, R) in place of (B, C, T, R)."""

    def __init__(self, regions: Tensor, segments: _Segments, gamma1: float, gamma2: float) -> None:
        self.regions, self.segments, self.gamma1, self.gamma2 = regions, segments, gamma1, gamma2
        self.products = products(segments.words.expand(len(regions), -1, -1), regions)  # eq. 7
        self.over_words = segments.softmax(self.products)  # eq. 8
        self.attention = (gamma1 * self.over_words).softmax(2)  # eq. 9
        self.weighted = products(self.attention, products(regions.transpose(1, 2), regions))  # alpha' G
        self.inner = (self.attention * self.products).sum(2)  # <c, e>; (B, N)
        self.squared = (self.attention * self.weighted).sum(2)  # |c|^2
        self.cosines = self.inner / (self.squared.clamp(min=_LEAST).sqrt() * segments.lengths)
        # eq. 10, not divided by gamma2
        self.scores = segments.padded(gamma2 * self.cosines).logsumexp(2)

    def gradients(self, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For a gradient of the scores (B, C): those for the regions (B, D, R), for the products (B, N, R),
        and for the lengths of the segments (N,)."""
        segments, attention, over_words = self.segments, self.attention, self.over_words
        pooling = segments.softmax(self.gamma2 * self.cosines)
        of_cosines = self.gamma2 * given[:, segments.captions] * pooling
        floored = self.squared.clamp(min=_LEAST)
        of_inner = of_cosines / (floored.sqrt() * segments.lengths)
        of_squared = torch.where(self.squared >= _LEAST, -0.5 * of_cosines * self.cosines / floored, 0)
        # Through |c|^2 = alpha' G alpha and <c, e> = alpha . s to alpha, and back through its softmax, ...
        of_over = of_inner[..., None] * self.products
        of_over.addcmul_(2 * of_squared[..., None], self.weighted)
        of_over -= (of_inner * self.inner + 2 * of_squared * self.squared)[..., None]
        of_over.mul_(attention).mul_(self.gamma1)
        # ... through that over a caption's segments, ...
        sums = of_over.new_zeros(len(given), given.shape[1], attention.shape[2])
        sums.index_add_(1, segments.captions, of_over * over_words)
        of_products = of_over.sub_(sums[:, segments.captions]).mul_(over_words)
        of_products.addcmul_(of_inner[..., None], attention)
        # ... and to the regions, through the products and through G.
        of_gram = products(attention.transpose(1, 2), of_squared[..., None] * attention)
        words = segments.words.t().expand(len(given), -1, -1)
        of_regions = products(words, of_products) + 2 * products(self.regions, of_gram)
        return of_regions, of_products, -(of_cosines * self.cosines / segments.lengths).sum(0)
