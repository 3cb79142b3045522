"""Published state dicts, renamed key by key into those of our networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from s2i.errors import InputError

Network = TypeVar("Network", bound=nn.Module)


class Weights:
    """A published state dict on its way into a network of ours.

    Whoever reads it moves its tensors, by their published names, to ours; `build` then refuses a rest that
    nobody asked for, so that weights of another system never pass for these.
    """

    def __init__(self, values: Mapping[str, Tensor], origin: str) -> None:
        """`origin` is what an error names."""
        prefix = "module."  # that DataParallel leaves
        wrapped = bool(values) and all(key.startswith(prefix) for key in values)
        self.origin = origin
        self._published = {key.removeprefix(prefix) if wrapped else key: values[key] for key in values}
        self._moved: dict[str, Tensor] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._published

    def __iter__(self) -> Iterator[str]:
        return iter(self._published)

    def shape(self, key: str, dimensions: int) -> torch.Size:
        """Sizes of a tensor. Raises InputError where it is missing or has other dimensions."""
        if key not in self._published:
            raise self._foreign(f"none of that name: {key}")
        shape = self._published[key].shape
        if len(shape) != dimensions or 0 in shape:
            raise self._foreign(f"{tuple(shape)} for {key}")
        return shape

    def count(self, template: str, start: int = 0) -> int:
        """How many keys there are of `template`, numbered from `start` on."""
        number = start
        while template.format(number) in self:
            number += 1
        return number - start

    def move(self, published: str, ours: str, change: Callable[[Tensor], Tensor] | None = None) -> None:
        """Move the tensor `published`, or all those under that name, to `ours`, through `change`."""
        under = [key for key in self._published if key == published or key.startswith(f"{published}.")]
        if not under:
            raise self._foreign(f"none of that name: {published}")
        for key in under:
            value = self._published.pop(key)
            name = ours + key.removeprefix(published)
            self._moved[name] = change(value).contiguous() if change else value

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Tensors of ours that the published network does without."""
        self._moved.update(values)

    def build(self, make: Callable[[], Network]) -> Network:
        """The network, frozen, in eval mode and float32, of what was moved.

        Raises InputError where something is missing, left over, or of another shape.
        """
        if self._published:
            raise self._foreign(f"also {min(self._published)}")
        try:
            with torch.device("meta"):  # no random weights to be thrown away
                network = make()
            # Counted by torch from 0.4.1 on, and read by nobody here.
            counters = {
                key: torch.tensor(0) for key in network.state_dict() if key.endswith("num_batches_tracked")
            }
            network.load_state_dict({**counters, **self._moved}, assign=True)
        except (RuntimeError, ValueError, ZeroDivisionError) as error:
            raise self._foreign(" ".join(str(error).split())[:200]) from error
        return network.float().requires_grad_(False).eval()

    def _foreign(self, mismatch: str) -> InputError:
        return InputError(
            f"expected published weights in {self.origin}, found {mismatch}:"
            " they are of another system or another version of it, or cut short"
        )
