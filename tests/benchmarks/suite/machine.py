"""What this machine can do: the operations of a matrix product and the bytes of a copy, in a second."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from s2i.devices import describe, has_instructions
from s2i.matrix_products import product

SIDE = 1024  # of the matrices
COPIED = 2**24  # float32 numbers: 64 MB, more than caches hold
ROUNDS = 5


@dataclass(frozen=True)
class Machine:
    """Attributes: operations: a second, by precision; bytes: a second, read and written."""

    processor: str
    threads: int
    torch: str
    operations: dict[str, float]
    bytes: float

    def limit(self, operations: float, moved: float, precision: str) -> float:
        """Seconds that so many operations and bytes take at least; 0 where neither is counted. On so many
        threads as the machine was measured on, in seconds of the processor, all threads together."""
        return self.threads * max(
            operations / self.operations.get(precision, self.operations["fp32"]), moved / self.bytes
        )

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def measure_machine() -> Machine:
    """Measure with the threads that torch has now. bf16 only where the processor has instructions for it."""
    cpu, operations = torch.device("cpu"), {"fp32": _products(torch.float32)}
    if has_instructions(cpu):
        operations["bf16"] = _products(torch.bfloat16)
    return Machine(describe(cpu), torch.get_num_threads(), torch.__version__, operations, _copies())


def _products(kind: torch.dtype) -> float:
    first, second = (torch.randn(SIDE, SIDE).to(kind) for _ in range(2))
    out = torch.empty(SIDE, SIDE, dtype=kind)
    # In float32 of two libraries the faster one: see `s2i.matrix_products`.
    best = min(_best(lambda: torch.mm(first, second, out=out)), _best(lambda: product(first, second)))
    return 2 * SIDE**3 / best


def _copies() -> float:
    source, target = torch.zeros(COPIED), torch.zeros(COPIED)
    return 2 * source.nbytes / _best(lambda: target.copy_(source))


def _best(form: Any) -> float:
    """Wall-clock seconds of a call as the processor would have it alone: those of the processor, over the
    threads; the best of a few."""
    form()
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        form()
        best = min(best, time.process_time() - begun)
    return best / torch.get_num_threads()
