"""Adam, learning-rate schedules and clipping of gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from s2i.config import OptimiserConfig, ScheduleConfig


def learning_rate_factor(step: int, steps: int, schedule: ScheduleConfig) -> float:
    """The factor of `lr` at `step` (from 0) of `steps`.

    linear: 1 until start * steps, then straight to 0 at `steps`. step: times `factor` every `every` steps.
    Neither falls below `min_factor`. The first `warmup` steps rise straight to that.
    """
    factor = 1.0
    if schedule.kind == "linear" and step > schedule.start * steps:
        factor = (steps - step) / (steps * (1 - schedule.start))
    elif schedule.kind == "step":
        factor = schedule.factor ** (step // schedule.every)
    return max(factor, schedule.min_factor) * min(1.0, (step + 1) / max(1, schedule.warmup))


class _FusedAdam(Adam):
    """torch's fused Adam, given views that are contiguous in memory.

    On a CPU torch (2.11) copies a gradient that is channels last before its fused update, which takes longer
    than the update, and updates wrongly where it lies otherwise than its weight. The update is elementwise,
    so all tensors of such a weight are viewed with the channels innermost.
    """

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> bool:
        """Fill torch's lists of a group: weights, gradients, both moments, the largest second ones, steps."""
        is_complex = super()._init_group(group, *lists)
        weights, gradients, *moments, _ = lists
        gradients[:] = [_lying_as(*pair) for pair in zip(weights, gradients, strict=True)]
        for tensors in (gradients, *moments, weights):  # the weights last: they say how the others lie
            pairs = zip(tensors, weights, strict=bool(tensors))
            tensors[:] = [
                tensor.permute(0, 2, 3, 1) if _is_channels_last(weight) else tensor
                for tensor, weight in pairs
            ]
        return is_complex


def _lying_as(weight: Tensor, gradient: Tensor) -> Tensor:
    form = torch.channels_last if _is_channels_last(weight) else torch.contiguous_format
    return gradient.contiguous(memory_format=form)


def _is_channels_last(weight: Tensor) -> bool:
    return weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last)


def adam(parameters: Iterable[nn.Parameter], config: OptimiserConfig) -> Adam:
    """Adam as configured; its learning rate is set each step by `set_learning_rate`.

    Weights are updated in one fused pass: the same mathematics, and memory is read once. A training that
    continues keeps the form in which it was begun, by its checkpoint.
    """
    return _FusedAdam(
        parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )


def load_optimiser(optimiser: Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser's state; what it keeps of a weight comes to lie in memory as the weight does.

    A run may go on in another memory format, and a fused update on a CPU reads both as they lie.
    """
    optimiser.load_state_dict(state)
    for weight, values in optimiser.state.items():
        for name, value in values.items():
            if value.shape == weight.shape and value.stride() != weight.stride():
                values[name] = torch.empty_like(weight).copy_(value)


def set_learning_rate(optimiser: Optimizer, config: OptimiserConfig, step: int, steps: int) -> float:
    """Set and return the learning rate of `step`."""
    rate = config.lr * learning_rate_factor(step, steps, config.schedule)
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients down to the norm `limit` (0: leave them); returns the norm before."""
    parameters = list(parameters)
    if limit:
        return nn.utils.clip_grad_norm_(parameters, limit)
    return nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None])
