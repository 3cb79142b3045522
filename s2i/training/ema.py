"""Running averages of networks, which are measured, sampled and exported in place of the live ones."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from s2i.training.profiling import part


def averaged(net: nn.Module) -> AveragedModel:
    """A separate net for the running average of `net`, for evaluation; make it before `prepare`."""
    return AveragedModel(net, use_buffers=True).requires_grad_(False).eval()


def average_decay(step: int, decay: float) -> float:
    """Decay of the average at `step` (from 0): the first steps, far from the end, are soon forgotten."""
    return min(decay, (1 + step) / (10 + step))


@part("average")
def update_average(average: AveragedModel, net: nn.Module, step: int, decay: float) -> None:
    """Move the average towards `net`: its weights, and the statistics of its batch norms with them.

    The published code averages weights alone, and generates with the statistics of the live net, which has
    other weights. Whole numbers, such as a norm's count of batches, are copied.
    """
    average.multi_avg_fn = get_ema_multi_avg_fn(average_decay(step, decay))
    average.update_parameters(net)
    for averaged_buffer, live in zip(average.module.buffers(), net.buffers(), strict=True):
        if not averaged_buffer.is_floating_point():
            averaged_buffer.copy_(live)
