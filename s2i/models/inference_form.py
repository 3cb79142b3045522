"""A stacked generator in a form that generates the same images with about half of the operations.

Three identities, each exact but for rounding:

- A batch norm in eval mode is a scale and a shift of each channel, which its convolution takes in.
- A 3x3 convolution of a map that was doubled by repeating its pixels is four 2x2 convolutions of the small
  map (`doubled_convolution.py`).
- A convolution of a condition that is the same at every place is a number a channel, but at the borders.
"""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from s2i.matrix_products import product
from s2i.models.blocks import Gate, Norm, Residual, Upsample
from s2i.models.doubled_convolution import doubled_taps
from s2i.models.generator import NextStage, StackedGenerator, TiledConvolution
from s2i.models.interfaces import Generator
from s2i.models.tiled_convolution import convolve_constant

FEW = 16  # places: for so few a convolution takes longer to lay out its many weights anew than to compute


class DoubledConvolution(nn.Module):
    """Repeat each pixel twice both ways, convolve 3x3, modulate and gate: `Upsample` in eval mode."""

    def __init__(self, weight: Tensor, bias: Tensor, norm: Norm, gate: Gate) -> None:
        """`weight` (K, C, 3, 3) and `bias` (K,) of the convolution; `norm`: what is left of it to apply."""
        super().__init__()
        self.weight = nn.Parameter(doubled_taps(weight), requires_grad=False)  # (4 K, C, 2, 2)
        self.bias = nn.Parameter(bias.repeat(4), requires_grad=False)
        self.norm, self.gate = norm, gate

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, after, 2H, 2W)."""
        height, width = hidden.shape[2:]
        if len(hidden) * height * width <= FEW:
            columns = F.unfold(hidden, 2, padding=1).transpose(0, 1).flatten(1)  # of all images
            outputs = product(self.weight.flatten(1), columns) + self.bias[:, None]
            outputs = outputs.unflatten(1, (len(hidden), height + 1, width + 1)).transpose(0, 1)
        else:
            outputs = F.conv2d(hidden, self.weight, self.bias, padding=1)
        doubled = None
        for place, phase in enumerate(outputs.chunk(4, 1)):
            y, x = divmod(place, 2)
            phase = self.gate(self.norm(phase[:, :, y : y + height, x : x + width], condition))
            if doubled is None:
                shape = (*phase.shape[:2], 2 * height, 2 * width)
                doubled = torch.empty(shape, dtype=phase.dtype, device=phase.device)
                if hidden.is_contiguous(memory_format=torch.channels_last):
                    doubled = doubled.contiguous(memory_format=torch.channels_last)
            doubled[:, :, y::2, x::2] = phase
        return doubled


class ConstantConvolution(nn.Module):
    """`TiledConvolution` with its weights apart."""

    def __init__(self, weight: Tensor, bias: Tensor, condition_dim: int) -> None:
        super().__init__()
        of_maps, of_condition = weight.split((weight.shape[1] - condition_dim, condition_dim), 1)
        self.of_maps, self.of_condition, self.bias = (
            nn.Parameter(tensor.contiguous(), requires_grad=False) for tensor in (of_maps, of_condition, bias)
        )

    def forward(self, maps: list[Tensor], condition: Tensor) -> Tensor:
        """As `TiledConvolution.forward`."""
        outputs = F.conv2d(
            maps[0] if len(maps) == 1 else torch.cat(maps, 1), self.of_maps, self.bias, padding=1
        )
        return outputs + convolve_constant(condition, self.of_condition, outputs)


def for_inference(generator: Generator) -> Generator:
    """A copy of a generator in eval mode, for `forward` alone: the same images, to 1e-4 in [-1, 1].

    One of another package is returned as it is.
    """
    if not isinstance(generator, StackedGenerator):
        return generator
    made = deepcopy(generator).requires_grad_(False)
    first = made.first
    weight, bias = fuse_linear_bn_weights(first.linear.weight, first.linear.bias, *_statistics(first.norm))
    first.linear.weight, first.linear.bias, first.norm = weight, bias, nn.Identity()
    first.blocks = nn.ModuleList(map(_upsample, first.blocks))
    for stage in made.later:
        _fold(stage)
    return made


def _fold(stage: NextStage) -> None:
    if stage.join is not None:
        weight, bias = _folded(stage.join, stage.join_norm)
        stage.join = ConstantConvolution(weight, bias, stage.config.condition_dim)
    for block in stage.residuals:
        _fold_residual(block)
    stage.upsample = _upsample(stage.upsample)


def _fold_residual(block: Residual) -> None:
    for convolution, norm in ((block.convolution1, block.norm1), (block.convolution2, block.norm2)):
        convolution.weight, convolution.bias = _folded(convolution, norm)


def _upsample(block: Upsample) -> nn.Module:
    weight, bias = _folded(block.convolution, block.norm)
    if block.mode == "nearest":
        return DoubledConvolution(weight, bias, block.norm, block.gate)
    block.convolution.weight, block.convolution.bias = weight, bias
    return block


def _folded(convolution: nn.Conv2d | TiledConvolution, norm: Norm) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights that have taken in the batch norm behind the convolution; the norm keeps its modulation."""
    folded = fuse_conv_bn_weights(convolution.weight, convolution.bias, *_statistics(norm.norm))
    norm.norm = nn.Identity()
    return folded


def _statistics(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor, float, Tensor, Tensor]:
    return norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
