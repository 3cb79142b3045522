"""Spectral normalisation whose estimate is a function of the weight alone.

torch's keeps its vectors from step to step, in buffers: a running average of weights would wear the average
of those vectors, which has not their length. Here they are found anew from a fixed one, in a few products.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ITERATIONS = 4


def spectral_norm_of(weight: Tensor, rows: int) -> Tensor:
    """The largest singular value of a weight as a matrix of `rows` rows along its first dimension, by power
    iteration; its gradient takes the vectors for constants (Miyato et al. 2018)."""
    matrix = weight.reshape(rows, -1)
    with torch.no_grad():
        left = torch.ones(rows, dtype=matrix.dtype, device=matrix.device)
        for _ in range(ITERATIONS):
            right = F.normalize(matrix.t() @ left, dim=0)
            left = F.normalize(matrix @ right, dim=0)
    return left @ (matrix @ right)


class SpectralConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of a weight over its largest singular value."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, C, H, W) -> as nn.ConvTranspose2d."""
        weight = self.weight.float()
        weight = weight / spectral_norm_of(weight.transpose(0, 1), self.out_channels)  # W / sigma(W)
        return F.conv_transpose2d(hidden, weight.to(hidden.dtype), self.bias, self.stride, self.padding)
