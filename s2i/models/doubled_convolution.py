"""A 3x3 convolution of a map that was doubled by repeating its pixels, without the doubled map.

It sees each pixel of the small map through several of its taps. Each of the four outputs between two pixels
is therefore a 2x2 convolution of the small map with sums of taps: 4 products in place of 9.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from s2i.float32 import in_float32
from s2i.models.gradient_layout import memory_format_of

# Of the small maps of a batch. With fewer, the sums of taps and their gradients cost more than they save.
# With as many, it takes .5 to .9 of the time on one core, forward and backward, at worst 1.05.
LEAST_PLACES = 512
# Rows (and columns) of the taps that see the pixel before and the pixel after, of outputs 2y and 2y + 1.
_SEEN = (((0,), (1, 2)), ((0, 1), (2,)))


def convolve_doubled(hidden: Tensor, weight: Tensor) -> Tensor:
    """`F.conv2d` of the doubled map, padding 1, in the faster of both forms; the same but for rounding.

    Args:
        hidden: (B, C, H, W); weight: (K, C, 3, 3).

    Returns:
        (B, K, 2H, 2W).
    """
    height, width = hidden.shape[2:]
    # An exporter traces one form, for a batch of any size.
    exporting = torch.compiler.is_exporting()
    if exporting or hidden.device.type != "cpu" or len(hidden) * height * width < LEAST_PLACES:
        return F.conv2d(F.interpolate(hidden, scale_factor=2, mode="nearest"), weight, padding=1)
    return _Interleave.apply(F.conv2d(hidden, doubled_taps(weight), padding=1))


class _Interleave(Function):
    """The four outputs of each small pixel, (B, 4 K, H + 1, W + 1), side by side: (B, K, 2H, 2W)."""

    @staticmethod
    def forward(context: Any, outputs: Tensor) -> Tensor:
        batch, channels, height, width = outputs.shape
        context.form = memory_format_of(outputs)
        shape = (batch, channels // 4, 2 * (height - 1), 2 * (width - 1))
        doubled = torch.empty(shape, dtype=outputs.dtype, memory_format=context.form)
        for small, place in _phases(outputs, doubled):
            place.copy_(small)
        return doubled

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        batch, channels, height, width = gradient.shape
        shape = (batch, 4 * channels, height // 2 + 1, width // 2 + 1)
        whole = torch.empty(shape, dtype=gradient.dtype, memory_format=context.form).zero_()
        for small, place in _phases(whole, gradient):
            small.copy_(place)
        return whole


def _phases(outputs: Tensor, doubled: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each of the four outputs what lies inside the map, and its places in the doubled map."""
    height, width = (side // 2 for side in doubled.shape[2:])
    for number, output in enumerate(outputs.chunk(4, 1)):
        y, x = divmod(number, 2)
        yield output[:, :, y : y + height, x : x + width], doubled[:, :, y::2, x::2]


def doubled_taps(weight: Tensor) -> Tensor:
    """The 2x2 convolutions of the four outputs, one after the other: (K, C, 3, 3) -> (4 K, C, 2, 2).

    Output (2y + i, 2x + j) is output (y + i, x + j) of convolution 2i + j on the small map with padding 1.
    """
    sums = _SUMS.to(weight)  # a product: sums of slices take seven times as long, with gradients fourteen
    with in_float32(weight):
        taps = torch.matmul(weight.reshape(1, -1, 9), sums)
    return taps.view(4 * weight.shape[0], weight.shape[1], 2, 2)


def _sums_of_taps() -> Tensor:
    """Which of the 9 taps are added to each of the 4 of each convolution: (4, 9, 4), 1 or 0."""
    seen = torch.zeros(2, 3, 2)  # of a row or column: output, tap, tap of the small convolution
    for output, groups in enumerate(_SEEN):
        for place, taps in enumerate(groups):
            seen[output, list(taps), place] = 1
    return torch.einsum("iar,jbc->ijabrc", seen, seen).reshape(4, 9, 4)


_SUMS = _sums_of_taps()
