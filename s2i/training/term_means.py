"""Means of a training's terms since the last line of its log, over its steps and its processes."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor


class TermMeans:
    """Sums of named scalars, and how many steps had each: not every step has every term, nor every process (a
    batch of one class has no wrong pairs)."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sums: dict[str, list[Any]] = {}  # term: [sum, count]

    def add(self, terms: dict[str, Tensor | float]) -> None:
        """Count a step's terms."""
        for name, value in terms.items():
            entry = self._sums.setdefault(name, [torch.zeros((), dtype=torch.float64), 0])
            value = torch.as_tensor(value).detach()
            entry[0] = entry[0].to(value.device) + value.double()
            entry[1] += 1

    def means(self) -> dict[str, float]:
        """The mean of each term over the steps that had it, over all processes; all must call it at once."""
        names = list(self._sums)
        if self._accelerator.num_processes > 1:
            names = list(dict.fromkeys(chain.from_iterable(gather_object([names]))))
        if not names:
            return {}
        device = self._accelerator.device
        absent = [torch.zeros((), dtype=torch.float64), 0]
        sums, counts = zip(*(self._sums.get(name, absent) for name in names), strict=True)
        sums = torch.stack([total.to(device) for total in sums])
        counts = torch.tensor(counts, dtype=torch.float64, device=device)
        if self._accelerator.num_processes > 1:
            sums, counts = (self._accelerator.reduce(values, "sum") for values in (sums, counts))
        return {
            name: float(f"{value:.6g}") for name, value in zip(names, (sums / counts).tolist(), strict=True)
        }

    def clear(self) -> None:
        """Begin anew, after a line of the log."""
        self._sums = {}

    def state(self) -> list[dict[str, list[Any]]]:
        """The sums of each process by rank, for a checkpoint; all processes must call it at once."""
        sums = {name: [total.cpu(), count] for name, (total, count) in self._sums.items()}
        return gather_object([sums]) if self._accelerator.num_processes > 1 else [sums]

    def load(self, state: list[dict[str, list[Any]]]) -> None:
        """Continue from this process's sums in a `state`."""
        self._sums = state[self._accelerator.process_index]
