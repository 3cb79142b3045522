"""The joint batch of a training's processes: its rows in one order, and batch norms over all of them.

A step's loss is the mean of its processes' losses, since their gradients are averaged. A loss that compares
the images of a batch with each other is taken over gathered rows, where it is the same number in every
process, and what leads back to a row is the sum of what all processes pass back: averaged, the gradient that
one process would have of the joint batch. Every process has to go through the same steps of forward and
backward passes: a sum over processes waits for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.masked_batch_norm import MaskedBatchNorm1d


@dataclass(frozen=True)
class JointBatch:
    """Which rows of the joint batch a process has: `rank`, `rank + world`, ..., as the sampler deals them."""

    rank: int = 0
    world: int = 1

    def gather(self, values: Tensor) -> Tensor:
        """(B, ...) of each process -> (B * world, ...) in the joint batch's order, with history."""
        if self.world == 1:
            return values
        numbers = values.to(torch.uint8) if values.dtype == torch.bool else values
        rows = numbers.new_zeros(len(numbers) * self.world, *numbers.shape[1:])
        rows[self.rank :: self.world] = numbers  # a sum of rows with zeros is those rows
        return sum_over_processes(rows).to(values.dtype)

    def gather_captions(self, encoding: CaptionEncoding) -> CaptionEncoding:
        """The encodings of all processes, padded to the longest of the joint batch."""
        if self.world == 1:
            return encoding
        longest = torch.tensor(encoding.mask.shape[1], device=encoding.mask.device)
        torch.distributed.all_reduce(longest, torch.distributed.ReduceOp.MAX)
        padding = (0, int(longest) - encoding.mask.shape[1])
        return CaptionEncoding(
            self.gather(encoding.sentence),
            self.gather(F.pad(encoding.sequence, padding)),
            self.gather(F.pad(encoding.mask, padding)),
        )

    def local(self, rows: Tensor) -> Tensor:
        """This process's rows of the joint batch: (B * world, ...) -> (B, ...)."""
        return rows[self.rank :: self.world]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the joint batch of values (B, ...): (...), with history."""
        mean = values.mean(0)
        return mean if self.world == 1 else sum_over_processes(mean) / self.world

    def mean_of_some(self, mean: Tensor, rows: Tensor, chosen: Tensor, of_all: Tensor) -> Tensor:
        """A mean over some of this process's rows as its part of the mean over those of the joint batch.

        Args:
            mean: over the chosen rows; 0 where there are none.
            rows: what all of this process's rows are computed as: even one without a chosen row goes through
                their backward pass.
            chosen: (B,) bool; of_all: (B * world,), of all processes.
        """
        if self.world == 1:
            return mean
        share = chosen.sum() * self.world / of_all.sum().clamp(min=1)
        return share * mean + 0 * rows.float().sum()

    def average_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Average the gradients of weights over the processes; those that have one are the same in each."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if self.world == 1 or not gradients:
            return
        joined = torch.cat([gradient.flatten() for gradient in gradients])  # one wait, not hundreds
        torch.distributed.all_reduce(joined)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, average in zip(gradients, (joined / self.world).split(sizes), strict=True):
            gradient.copy_(average.view_as(gradient))


ALONE = JointBatch()


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of equally shaped values over all processes, with history; may be differentiated twice."""
    return _Sum.apply(values)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_: object, values: Tensor) -> Tensor:
        total = values.detach().clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


def join_batch_norms(network: nn.Module) -> None:
    """Have the batch norms of a network in training mode normalise over the joint batch.

    torch.nn.SyncBatchNorm does it on GPUs alone, and can't be differentiated twice, as a gradient penalty
    wants it.
    """
    for module in network.modules():
        module.__class__ = _JOINT.get(type(module), type(module))


class _OverProcesses:
    """nn.BatchNorm1d or 2d with the mean and variance of the joint batch, in float32."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, ...) -> the same."""
        if not self.training:
            return super().forward(inputs)
        values, channels = inputs.float(), inputs.shape[1]
        places = [axis for axis in range(inputs.dim()) if axis != 1]
        shape = (-1, *[1] * (inputs.dim() - 2))
        own_count = values.new_full((1,), inputs.numel() / channels)
        sums = sum_over_processes(torch.cat((own_count, values.sum(places))))
        count, mean = sums[0], sums[1:] / sums[0]
        centred = values - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(places)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        scale = (variance + self.eps).rsqrt()
        scale = scale if self.weight is None else scale * self.weight
        normalised = centred * scale.view(shape)
        shifted = normalised if self.bias is None else normalised + self.bias.view(shape)
        return shifted.to(inputs.dtype)


class _BatchNorm1d(_OverProcesses, nn.BatchNorm1d):
    pass


class _BatchNorm2d(_OverProcesses, nn.BatchNorm2d):
    pass


class _MaskedBatchNorm1d(MaskedBatchNorm1d):
    def joined(self, sums: Tensor) -> Tensor:
        return sum_over_processes(sums)


_JOINT = {
    nn.BatchNorm1d: _BatchNorm1d,
    nn.BatchNorm2d: _BatchNorm2d,
    MaskedBatchNorm1d: _MaskedBatchNorm1d,
}
