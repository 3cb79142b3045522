"""Batch norm of sequences of different lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Joined = Callable[[Tensor], Tensor]


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm over (B, C, T) whose statistics leave padding out; state keys as nn.BatchNorm1d.

    Statistics are float32 whatever the inputs are: bfloat16 can't even count the frames of a batch.
    """

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T), (B, T) -> (B, C, T), zero over padding. May be differentiated once."""
        if not self.training:
            return super().forward(inputs) * mask.unsqueeze(1)
        outputs, count, mean, variance = _Normalise.apply(
            inputs, mask, self.weight, self.bias, self.eps, self.joined
        )
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        return outputs

    def joined(self, sums: Tensor) -> Tensor:
        """Sums over this batch -> over all that it is part of; to be overridden where it is a part."""
        return sums


class _Normalise(Function):
    """Outputs, and the number, mean and variance of the valid steps.

    With v the inputs less their mean, over their deviation, and g the gradient of the outputs, that of the
    inputs is weight / deviation * (g - mean(g) - v * mean(g * v)) at valid steps: a few passes over the
    sequence, where autograd takes one for each operation.
    """

    @staticmethod
    def forward(
        context: Any, inputs: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float, joined: Joined
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        valid = mask.unsqueeze(1).float()
        normalised = inputs.float() * valid
        count = joined(valid.sum())
        mean = joined(normalised.sum((0, 2))) / count
        normalised.sub_(mean[:, None]).mul_(valid)
        variance = joined(normalised.square().sum((0, 2))) / count
        inverse = (variance + eps).rsqrt()
        normalised.mul_(inverse[:, None])
        outputs = torch.addcmul(bias[:, None], normalised, weight[:, None]).mul_(valid)
        context.save_for_backward(normalised, valid, count, inverse, weight)
        context.joined, context.dtype = joined, inputs.dtype
        context.mark_non_differentiable(count, mean, variance)
        return outputs.to(inputs.dtype), count, mean, variance

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        normalised, valid, count, inverse, weight = context.saved_tensors
        gradient = gradient.float() * valid
        of_bias, of_weight = gradient.sum((0, 2)), (gradient * normalised).sum((0, 2))
        of_mean, of_product = context.joined(torch.stack((of_bias, of_weight))) / count
        gradient.sub_(of_mean[:, None]).addcmul_(normalised, of_product[:, None], value=-1)
        of_inputs = gradient.mul_(valid).mul_((weight * inverse)[:, None])
        return of_inputs.to(context.dtype), None, of_weight, of_bias, None, None
