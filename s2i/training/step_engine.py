"""The engine of a step by itself: for counting what a step takes, and for benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from s2i.config import Config
from s2i.training.joint_batch import ALONE, JointBatch


class StepEngine:
    """What a training step asks of `s2i.training.distributed.Engine`, without a run."""

    rank, world, is_main = 0, 1, True  # of what is drawn at random

    def __init__(self, config: Config, device: torch.device, joint: JointBatch = ALONE) -> None:
        """`config.precision` is read: bf16, or anything else for float32."""
        self.config, self.device, self.joint = config, device, joint

    def autocast(self) -> AbstractContextManager:
        """Compute in the configured precision inside."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss."""
        loss.backward()

    def average(self, values: Tensor) -> Tensor:
        """The values: there is one process."""
        return values

    def average_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Average gradients over the processes of the joint batch."""
        self.joint.average_gradients(weights)

    def share(self, *nets: nn.Module) -> None:
        """Nothing: there is one process."""

    def join_batch_norms(self, *networks: nn.Module) -> None:
        """Nothing: there is one process."""
