"""What a training step needs of memory, counted before it is taken, and micro-batches that fit a device.

A step of the run's own networks and losses is taken on tensors without data, whose sizes are added up as
they come and go: weights, gradients, Adam's moments, averages, activations. What is not counted: the device's
driver, workspaces of convolutions, and what an allocator loses between blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from s2i.config import Config
from s2i.errors import InputError
from s2i.models.pretrained import PretrainedNetwork
from s2i.progress import say
from s2i.training.distributed import Engine

Module = TypeVar("Module", bound=nn.Module)
GIB = 2**30
USABLE = 0.85  # of a device: the rest is the driver's, the convolutions' and the allocator's
UNLIMITED = "unlimited"

# (configuration, rows of a process's batch, device) -> bytes
CountPeak = Callable[[Config, int, torch.device], int]


class LiveBytes(TorchDispatchMode):
    """Bytes of all tensors that are made inside the block and still there; `peak`: the most at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._at_most = 0
        self._known: dict[int, tuple[StorageWeakRef, int]] = {}

    @property
    def now(self) -> int:
        """Bytes that are there."""
        for key, (storage, size) in list(self._known.items()):
            if storage.expired():
                del self._known[key]
                self._at_most -= size
        return self._at_most

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple = (), options: dict | None = None
    ) -> Any:
        results = function(*arguments, **(options or {}))
        for each in torch.utils._pytree.tree_leaves(results):
            if isinstance(each, Tensor):
                self._count(each.untyped_storage())
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._known:
            return
        self._known[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._at_most += storage.nbytes()
        if self._at_most > self.peak:  # else nobody need look who has gone
            self.peak = max(self.peak, self.now)


class _WithoutData(TorchDispatchMode):
    """What depends on a tensor's values has an answer on tensors without any: numbers are large, conditions
    hold, and a mask chooses every row."""

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple = (), options: dict | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        if name == "_local_scalar_dense":
            kind = arguments[0].dtype
            return True if kind == torch.bool else 1.0 if kind.is_floating_point else 10**6
        if name == "nonzero":
            (mask,) = arguments
            return torch.zeros(mask.numel(), mask.ndim, dtype=torch.int64, device=mask.device)
        if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"):
            chosen = [_every_row(each) for each in arguments[1]]
            arguments = (arguments[0], chosen, *arguments[2:])
        return function(*arguments, **(options or {}))


def _every_row(index: Tensor | None) -> Tensor | None:
    if index is None or index.dtype != torch.bool:
        return index
    return torch.arange(index.shape[0], device=index.device)


@contextmanager
def without_data() -> Iterator[LiveBytes]:
    """Inside the block tensors have sizes and no data; counts them. Modules can't be moved (see `placed`)."""
    with torch.random.fork_rng(devices=[]), FakeTensorMode(allow_non_fake_inputs=True):
        with LiveBytes() as live, _WithoutData():
            yield live


def placed(build: Callable[[], Module], device: torch.device) -> Module:
    """A module that `build` makes, on a device; in the layout that trainings have, if it has data."""
    with device:
        module = build()
    is_empty = any(isinstance(each, FakeTensor) for each in (*module.parameters(), *module.buffers()))
    return module if is_empty else module.to(memory_format=torch.channels_last)


class PlacedNetwork(PretrainedNetwork):
    """A frozen network with initial weights that stays where it was made."""

    def to(self, *_: object, **__: object) -> PlacedNetwork:
        """Itself."""
        return self


def make_moments(optimiser: Optimizer) -> None:
    """The state that an optimiser has after its first step, which leaves the weights as they are."""
    rates = [group["lr"] for group in optimiser.param_groups]
    for group in optimiser.param_groups:
        group["lr"] = 0.0
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate


def fit_to_memory(engine: Engine, batch_size: int, count_peak: CountPeak, lower: str) -> Engine:
    """The engine of a run with the micro-batches that its `memory` allows; said in a line.

    The largest of the whole batch as it is, the whole batch with every network computed again, and parts of a
    half, a third, ... of it, whose step fits. A run that continues keeps what it was begun with.

    Args:
        batch_size: rows of this process's batch.
        count_peak: bytes of a step with the configuration's `micro_batch`.
        lower: keys that take less memory where they are lower, for the error.

    Raises:
        InputError: not even two rows at once fit.
    """
    config = engine.config
    if config.memory == UNLIMITED or config.micro_batch:
        return engine
    if engine.begun is not None and engine.begun.memory == config.memory:
        return replace(engine, config=replace(config, micro_batch=engine.begun.micro_batch))
    budget = USABLE * int(config.memory.removesuffix("gb")) * GIB
    peak = 0
    for rows in candidates(batch_size):
        fitted = replace(config, micro_batch=rows)
        peak = count_peak(fitted, batch_size, engine.device)
        if peak <= budget:
            if engine.is_main:
                say(f"memory={config.memory}: {described(rows, batch_size)}; a step needs about {gib(peak)}")
            return replace(engine, config=fitted)
    raise InputError(
        f"expected a step within {gib(int(budget))} for memory={config.memory}, found {gib(peak)} with"
        f" {candidates(batch_size)[-1]} images at once: allow more, or lower {lower}"
    )


def candidates(batch_size: int) -> Sequence[int]:
    """Values of `micro_batch`, from the most memory to the least: 0, all of the batch, a half, ..., 2."""
    sizes = [0, batch_size]
    for count in range(2, batch_size // 2 + 1):
        if (rows := -(-batch_size // count)) not in sizes:
            sizes.append(rows)
    return sizes


def described(rows: int, batch_size: int) -> str:
    """A value of `micro_batch` in words."""
    if not rows:
        return "the whole batch at once"
    if rows >= batch_size:
        return "the whole batch at once, each network computed again in the backward pass"
    return f"{rows} images at once, computed again in the backward pass; batch norms see so many"


def gib(count: int) -> str:
    """Bytes in words."""
    return f"{count / GIB:.2f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"
