"""Convolutions with many weights and few places: the last halvings of discriminators, and their logits.

A library of small kernels lays out weights and gradients anew for each, which then takes longer than all
products. On a CPU such a convolution is one product of matrices here, with the weights as they lie.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.matrix_products import linear

# Measured on one core with AttnGAN's widths at 256 px, forward and backward: up to here one product takes .4
# to 1.1 of the time, the less the more weights, in fp32 and in bf16; with more places soon more than all.
MOST_PLACES = 128  # of all images of the batch together
LEAST_WEIGHTS = 1 << 20


class DeepConvolution(nn.Conv2d):
    """`nn.Conv2d` without groups and dilation, which computes as `convolve`."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, H', W')."""
        return convolve(hidden, self.weight, self.bias, self.stride[0], self.padding[0])


def convolve(
    hidden: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """`F.conv2d`, as one product of matrices where that is faster; the same but for rounding.

    Args:
        hidden: (B, C, H, W); weight: (K, C, h, w); bias: (K,).

    Returns:
        (B, K, H', W'), in the memory format of the weight.
    """
    height, width = (
        (side + 2 * padding - kernel) // stride + 1
        for side, kernel in zip(hidden.shape[2:], weight.shape[2:], strict=True)
    )
    is_whole = hidden.shape[2:] == weight.shape[2:] and padding == 0  # a logit of a map
    few = (
        weight.numel() >= LEAST_WEIGHTS
        and not torch.compiler.is_exporting()  # of any number of images
        and len(hidden) * height * width <= MOST_PLACES
    )
    if not (is_whole or few) or hidden.device.type != "cpu":
        return F.conv2d(hidden, weight, bias, stride, padding)
    form = torch.contiguous_format
    patches = hidden.unsqueeze(1)  # (B, H' * W', C, h, w)
    if not is_whole:
        patches = F.unfold(hidden, weight.shape[2:], padding=padding, stride=stride).transpose(1, 2)
        patches = patches.unflatten(2, weight.shape[1:])
    if weight.stride(1) == 1 < weight.shape[2]:  # channels last: the product with the channels innermost
        form, weight, patches = torch.channels_last, weight.permute(0, 2, 3, 1), patches.movedim(2, 4)
    outputs = linear(patches.flatten(2).flatten(0, 1), weight.flatten(1), bias)
    outputs = outputs.view(len(hidden), height, width, -1).permute(0, 3, 1, 2)
    return outputs.contiguous(memory_format=form)
