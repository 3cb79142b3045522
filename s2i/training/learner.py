"""One place for the update of a network: its gradients, learning rate, clipping and optimiser."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from s2i.config import OptimiserConfig
from s2i.training.distributed import Engine
from s2i.training.optim import adam, clip_gradients, set_learning_rate
from s2i.training.profiling import part


class Learner:
    """Weights that one optimiser updates.

    For networks that are not prepared by the engine: their gradients are averaged over the processes here,
    after all backward passes of a step.

    Attributes:
        optimiser: Adam, to be saved with the weights.
    """

    def __init__(
        self, engine: Engine, weights: Iterable[nn.Parameter], settings: OptimiserConfig, steps: int
    ) -> None:
        """`steps`: of the whole training, over which the learning rate follows its schedule."""
        self._engine, self._weights, self._settings, self._steps = engine, list(weights), settings, steps
        self.optimiser = adam(self._weights, settings)

    def requires_grad_(self, required: bool) -> None:
        """Whether a backward pass reaches these weights."""
        for weight in self._weights:
            weight.requires_grad_(required)

    def zero_grad(self) -> None:
        """Forget the gradients of the step before."""
        self.optimiser.zero_grad(set_to_none=True)

    @part("update")
    def update(self, step: int) -> tuple[float, Tensor]:
        """Update the weights by their gradients; returns the learning rate and the gradients' norm before
        clipping."""
        rate = set_learning_rate(self.optimiser, self._settings, step, self._steps)
        self._engine.average_gradients(self._weights)
        norm = clip_gradients(self._weights, self._settings.clip)
        self.optimiser.step()
        return rate, norm
