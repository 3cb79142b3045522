"""Networks that are given a part of the batch at once, which is computed again in the backward pass.

Gradient checkpointing and accumulation in one: what comes out of a network is joined before any loss sees it,
so a loss that compares the images of a batch with each other is that of the whole batch, and so are all
gradients, to rounding. Of a part are kept, until its backward pass, its inputs, outputs and random state.

One thing differs: a batch norm in training mode normalises over a part in place of the batch (ghost batch
norm), and moves its running statistics once a part. With parts as large as the batch, which save what the
networks of a step would hold beside each other, nothing differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.utils.checkpoint import checkpoint

LEAST_ROWS = 2  # a batch norm over vectors needs two


def use_micro_batches(rows: int, *networks: nn.Module | None) -> None:
    """Have networks compute about `rows` rows at once, at most, where gradients are recorded; 0: all rows.

    Of a generator with a learnt prior it is `decode` that does, which its `forward` calls.
    """
    for network in networks if rows else ():
        if network is not None:
            name = "forward" if getattr(network, "prior", None) is None else "decode"
            setattr(network, name, _InParts(network, getattr(network, name), rows))


class _InParts:
    """A network's `forward` or `decode`, of batches whose tensors all have their rows first."""

    def __init__(self, network: nn.Module, forward: Callable[..., Any], rows: int) -> None:
        self._network, self._forward, self._rows = network, forward, rows

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*inputs, **options)
        count = next(len(tensor) for each in inputs for tensor in _tensors(each))
        return _joined(
            [
                self._part([_rows(each, part) for each in inputs], options, is_first=part.start == 0)
                for part in micro_batches(count, self._rows)
            ]
        )

    def _part(self, inputs: list[Any], options: dict[str, Any], is_first: bool) -> Any:
        buffers = _WithBuffers(self._network)

        def compute(*given: Any) -> Any:
            with nullcontext() if is_first else _spectral_norms_held(self._network):
                return self._forward(*given, **options)

        return checkpoint(
            compute,
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), buffers),
        )


def micro_batches(count: int, rows: int) -> Iterator[slice]:
    """Even parts of at most `rows` of `count` rows, or of a little more lest one has fewer than two."""
    number = max(1, min(-(-count // rows), count // LEAST_ROWS))
    for part in range(number):
        yield slice(count * part // number, count * (part + 1) // number)


class _WithBuffers:
    """The buffers that a part has met, while it is computed again, once or for a gradient penalty twice; then
    those that there are by now.

    A batch norm's statistics move once so, and spectral norm estimates what it has estimated. They are
    exchanged, not overwritten: graphs that wait for their backward pass hold them.
    """

    def __init__(self, network: nn.Module) -> None:
        self._kept = [
            (module, name, buffer.clone())
            for module in network.modules()
            for name, buffer in module._buffers.items()
            if module.training and buffer is not None
        ]

    def __enter__(self) -> None:
        self._present = [(module, name, module._buffers[name]) for module, name, _ in self._kept]
        for module, name, buffer in self._kept:
            module._buffers[name] = buffer.clone()

    def __exit__(self, *_: object) -> None:
        for module, name, buffer in self._present:
            module._buffers[name] = buffer


@contextmanager
def _spectral_norms_held(network: nn.Module) -> Iterator[None]:
    """No further power iterations: a batch takes one, in its first part."""
    norms = [module for module in network.modules() if isinstance(module, _SpectralNorm) and module.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for item in fields(value):
            yield from _tensors(getattr(value, item.name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _rows(value: Any, part: slice) -> Any:
    """Some rows of every tensor in it."""
    if isinstance(value, Tensor):
        return value[part]
    if is_dataclass(value):
        return replace(value, **{item.name: _rows(getattr(value, item.name), part) for item in fields(value)})
    if isinstance(value, list | tuple):
        return type(value)(_rows(each, part) for each in value)
    return value


def _joined(values: list[Any]) -> Any:
    """The rows of all parts, in their order; alike in everything else."""
    first = values[0]
    if len(values) == 1 or not isinstance(first, list | tuple) and not any(True for _ in _tensors(first)):
        return first
    if isinstance(first, Tensor):
        return torch.cat(values)
    if is_dataclass(first):
        names = [item.name for item in fields(first)]
        return replace(first, **{name: _joined([getattr(each, name) for each in values]) for name in names})
    return type(first)(_joined(list(each)) for each in zip(*values, strict=True))
