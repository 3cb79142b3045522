"""Convolutions of maps and of a condition that is the same at every place, without the tiled map.

What the published networks do with a condition tiled over a map, in fewer operations: each place sees the
sum of the taps that lie inside, so the condition takes 9 products in place of 9 * H * W, and nothing is set
beside the map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.models.deep_convolution import convolve


def convolve_tiled(hidden: Tensor, condition: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3x3 convolution, padding 1, of a map and, behind its channels, of a condition at each place.

    Args:
        hidden: (B, C, H, W); condition: (B, D); weight: (K, C + D, 3, 3); bias: (K,).

    Returns:
        (B, K, H, W).
    """
    of_maps, of_condition = weight.split((hidden.shape[1], condition.shape[1]), 1)
    outputs = convolve(hidden, of_maps, bias, padding=1)
    return outputs + convolve_constant(condition, of_condition, outputs)


def convolve_constant(condition: Tensor, weight: Tensor, like: Tensor) -> Tensor:
    """A 3x3 convolution, padding 1, of a map that holds the same numbers at every place.

    Args:
        condition: (B, D); weight: (K, D, 3, 3); like: (B, K, H, W), a map of its size and kind of numbers.

    Returns:
        (B, K, H, W), in the memory format of the weight.
    """
    size, taps_of = like.shape[2:], weight.permute(2, 3, 0, 1).flatten(0, 2)
    of_taps = F.linear(condition.to(like.dtype), taps_of).unflatten(1, (9, len(weight)))
    inside = [[[0 <= place + tap - 1 < side for tap in range(3)] for place in range(side)] for side in size]
    rows, columns = (of_taps.new_tensor(taps) for taps in inside)
    places = torch.einsum("ha,wb->hwab", rows, columns).view(-1, 9)  # which taps each one sees
    if weight.stride(1) == 1:  # channels last
        return (places @ of_taps).unflatten(1, size).permute(0, 3, 1, 2)
    return (of_taps.transpose(1, 2) @ places.t()).unflatten(2, size)
