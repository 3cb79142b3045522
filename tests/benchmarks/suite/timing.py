"""Forms of the same computation that take turns in one process, timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median, quantiles
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from s2i.freed_memory import keep_freed_memory
from tests.benchmarks.suite.plain import give_freed_memory_back

OURS, PLAIN = "s2i", "plain"
TURN = 0.02  # seconds of a form's turn at least: shorter calls are repeated in it
LEAST_ROUNDS = 3

Form = Callable[[], object]


@dataclass(frozen=True)
class Choice:
    """What is measured; empty: all.

    Attributes:
        quick: fewer rounds, sizes and images.
    """

    quick: bool = False
    components: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()

    def has(self, part: str, size: str = "") -> bool:
        """Whether rows of a part and a size are asked for."""
        return (not self.components or part in self.components) and (not self.sizes or size in self.sizes)

    def has_precision(self, precision: str) -> bool:
        return not self.precisions or precision in self.precisions


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        part: of the package, such as "front end".
        name: what is computed.
        size: "painted birds", "paper", or "" of what has no size.
        precision: "fp32" or "bf16".
        forms: OURS, PLAIN and others by name: the same result, but for rounding.
        operations: multiplications and additions, each for one; 0: not counted.
        bytes: that have to be read and written at least; 0: not counted.
        clock: seconds at call; by default those of the processor, all threads together.
    """

    part: str
    name: str
    size: str
    precision: str
    forms: dict[str, Form]
    operations: float = 0.0
    bytes: float = 0.0
    clock: Callable[[], float] = time.process_time


@dataclass(frozen=True)
class Timed:
    """Seconds of a call of each form, a number a round."""

    row: Row
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, form: str = OURS) -> float:
        return median(self.seconds[form])

    def ratio(self, form: str = PLAIN) -> tuple[float, float, float]:
        """Seconds of another form over ours, round by round: median, lower and upper quartile."""
        ratios = [other / ours for other, ours in zip(self.seconds[form], self.seconds[OURS], strict=True)]
        lower, middle, upper = quantiles(ratios, n=4, method="inclusive")
        return middle, lower, upper


def time_row(row: Row, seconds: float) -> Timed:
    """Let the forms take turns for about so many seconds, and three rounds at least.

    A turn begins with a call that doesn't count: memory is then as the form leaves it, kept as a training
    keeps it or, of other forms, given back as by any process. Blocks that the former has kept may serve the
    latter, since they share a process, so the latter are timed a little too short at worst.
    """
    calls, spent = {}, 0.0
    for name, form in row.forms.items():
        _begin_turn(name, form)
        begun = row.clock()
        form()
        once = max(row.clock() - begun, 1e-6)
        calls[name] = max(1, round(TURN / once))
        spent += once * (calls[name] + 1)
    rounds = max(LEAST_ROUNDS, min(50, round(seconds / spent)))
    times: dict[str, list[float]] = {name: [] for name in row.forms}
    for turn in range(rounds):
        names = list(row.forms) if turn % 2 == 0 else list(row.forms)[::-1]
        for name in names:
            _begin_turn(name, row.forms[name])
            begun = row.clock()
            for _ in range(calls[name]):
                row.forms[name]()
            times[name].append((row.clock() - begun) / calls[name])
    return Timed(row, times)


def _begin_turn(name: str, form: Form) -> None:
    if name == OURS:
        keep_freed_memory()
    else:
        give_freed_memory_back()
    form()


def counted(form: Form) -> float:
    """Multiplications and additions of a call: those of matrix products and convolutions, backward ones too
    (recurrent layers and elementwise operations are left out)."""
    only_torch = patch("s2i.matrix_products.has_faster_products", lambda: False)  # what the counter knows
    with only_torch, FlopCounterMode(display=False) as counter:
        form()
    return float(counter.get_total_flops())


def bytes_of(*things: object) -> float:
    """Bytes of tensors, and of the weights of networks."""
    total = 0
    for thing in things:
        if isinstance(thing, torch.nn.Module):
            total += sum(weight.nbytes for weight in thing.parameters())
        elif isinstance(thing, torch.Tensor):
            total += thing.nbytes
        elif isinstance(thing, (list, tuple)):
            total += bytes_of(*thing)
    return float(total)
