"""What several processes would make of a generator's training step: a cost model, and processor seconds here.

    python tests/benchmarks/scaling.py [--precision bf16|fp32] [PRESET.yaml ...]
    python tests/benchmarks/scaling.py --measure [PRESET.yaml]

Counted of a step, on tensors without data: products and sums of its matrix products and convolutions, bytes
that its operations read and write, operations (kernels, on a GPU), bytes of gradients, sums over processes.
The time of a step is then the longest of computing, moving and launching, and after it what the processes
send each other. It is an estimate: the card's and the network's figures are those below, of data sheets, and
a share of them that such networks reach is assumed. `--measure` takes steps of a preset in one and in two
processes on this machine, of the same joint batch, and prints the processor seconds of all of them, which
don't depend on how many cores are free.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from s2i.config import Config
from s2i.config_files import load_config
from s2i.errors import Parser, exit_on_input_error
from s2i.freed_memory import keep_freed_memory
from s2i.training.gan_memory import GanStep
from s2i.training.memory import without_data

CONF = Path(__file__).parents[2] / "recipes"
PRESETS = tuple(CONF / "cub" / "conf" / f"{name}.yaml" for name in ("s2igan", "attngan", "attngan4", "ours"))
SMALL = CONF / "painted_birds" / "conf" / "default.yaml"
PROCESSES = (1, 8, 64)
SUMS_A_NORM = 4  # over processes, of a batch norm: two forward, two backward


@dataclass(frozen=True)
class Card:
    """An accelerator, eight to a node, and its network; operations and bytes a second."""

    name: str
    operations: dict[str, float]
    memory: float
    within_node: float  # bytes a second of each card
    between_nodes: float
    latency: tuple[float, float] = (20e-6, 50e-6)  # s of a sum within a node, between nodes
    launch: float = 6e-6  # s an operation
    reached: float = 0.4  # part of operations and bytes a second that such a step reaches: assumed


A100 = Card("A100 80 GB", {"bf16": 312e12, "fp32": 19.5e12}, 2.0e12, 300e9, 25e9)


@dataclass(frozen=True)
class Counts:
    """Of a step: floating-point operations, bytes moved, operations of torch, bytes of gradients, sums."""

    flops: float
    moved: float
    kernels: int
    gradients: float
    sums: int

    def seconds(self, card: Card, precision: str, processes: int, keeps_batch: bool) -> float:
        """Of a step in so many processes; `keeps_batch`: they share the batch, else each has one."""
        divisor = processes if keeps_batch else 1
        computing = self.flops / divisor / (card.reached * card.operations[precision])
        moving = self.moved / divisor / (card.reached * card.memory)
        step = max(computing, moving, self.kernels * card.launch)
        if processes == 1:
            return step
        is_far = processes > 8
        link = card.between_nodes if is_far else card.within_node
        ring = 2 * (processes - 1) / processes * self.gradients / link
        return step + ring + self.sums * card.latency[is_far]


class _Moved(TorchDispatchMode):
    """Bytes that operations read and write, views aside, and how many operations there are."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.operations = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple = (), options: dict | None = None
    ) -> Any:
        results = function(*arguments, **(options or {}))
        if not function.is_view:
            tensors = [each for each in tree_leaves((arguments, results)) if isinstance(each, Tensor)]
            self.bytes += sum(each.numel() * each.element_size() for each in tensors)
            self.operations += 1
        return results


def count(config: Config) -> Counts:
    """Counts of a step of a configuration's generator, in the forms of a GPU: those for processors are left
    out, though tensors without data say that they are on one."""
    few, many = "s2i.models.deep_convolution.MOST_PLACES", "s2i.models.doubled_convolution.LEAST_PLACES"
    with patch(few, 0), patch(many, math.inf), without_data():
        step = GanStep(config, config.gan.batch_size, torch.device("cpu"))
        with _Moved() as moved, FlopCounterMode(display=False) as flops:
            step()
    networks = step.networks
    learning = [networks.generator, networks.discriminators]
    weights = sum(weight.numel() for network in learning for weight in network.parameters())
    norms = sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for net in learning for m in net.modules())
    # Discriminators see real images, generated ones twice.
    sums = SUMS_A_NORM * (norms + 2 * _norms(networks.discriminators)) + 10
    return Counts(flops.get_total_flops(), moved.bytes, moved.operations, 4 * weights, sums)


def _norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def estimate(paths: list[Path], precision: str, card: Card = A100) -> None:
    """Print a row a preset: counts, then images a second in 1, 8 and 64 processes."""
    print(
        f"{card.name}, {precision}, {card.reached:.0%} of its figures: estimates, nothing here was measured"
    )
    columns = "".join(f"{f'{n} same':>10}{f'{n} each':>10}" for n in PROCESSES[1:])
    print(f"{'preset':12}{'TFLOP':>8}{'GB':>8}{'kernels':>9}{'MB grad':>9}{'sums':>6}{'1':>10}{columns}")
    for path in paths:
        config = replace(load_config(path), precision=precision)
        counts, size = count(config), config.gan.batch_size
        cells = [size / counts.seconds(card, precision, 1, keeps_batch=True)]
        for processes in PROCESSES[1:]:
            same = min(processes, size)  # a process has an image at least
            cells.append(size / counts.seconds(card, precision, same, keeps_batch=True))
            cells.append(processes * size / counts.seconds(card, precision, processes, keeps_batch=False))
        print(
            f"{path.stem:12}{counts.flops / 1e12:8.2f}{counts.moved / 1e9:8.1f}{counts.kernels:9}"
            f"{counts.gradients / 1e6:9.0f}{counts.sums:6}" + "".join(f"{cell:10.0f}" for cell in cells),
            flush=True,
        )


def measure(path: Path, steps: int) -> None:
    """Print processor seconds a step of the same joint batch in one and in two processes."""
    for processes in (1, 2):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        world = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
        words = [sys.executable, __file__, "--worker", "--steps", str(steps), str(path)]
        workers = [
            subprocess.Popen(
                words,
                env={**os.environ, **world, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(processes)
        ]
        seconds = [float(worker.communicate()[0]) for worker in workers]
        print(f"{path.stem}, {processes} of one thread each: {sum(seconds):.3f} processor seconds a step")


def work(path: Path, steps: int) -> None:
    """One process of a measurement: print its processor seconds a step."""
    from s2i.training.joint_batch import JointBatch, join_batch_norms

    torch.set_num_threads(1)
    keep_freed_memory()
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    config = replace(load_config(path), precision="fp32")
    if world > 1:
        torch.distributed.init_process_group("gloo")
    rows, joint = config.gan.batch_size // world, JointBatch(rank, world)
    step = GanStep(config, rows, torch.device("cpu"), joint)
    if world > 1:
        for network in (step.networks.generator, step.networks.discriminators):
            join_batch_norms(network)
    step()
    begun = time.process_time()
    for _ in range(steps):
        step()
    print((time.process_time() - begun) / steps)


def main() -> None:
    """Read the command line."""
    parser: argparse.ArgumentParser = Parser(description="Estimate a training step in 1, 8 and 64 processes.")
    parser.add_argument("presets", nargs="*", type=Path, metavar="PRESET.yaml")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="(default: bf16)")
    parser.add_argument("--measure", action="store_true", help="take steps here in one and two processes")
    parser.add_argument("--steps", type=int, default=3, metavar="N", help="of a measurement (default: 3)")
    parser.add_argument("--worker", action="store_true", help="one process of a measurement")
    given = parser.parse_args()

    def run() -> None:
        if given.worker:
            work(given.presets[0], given.steps)
        elif given.measure:
            for path in given.presets or [SMALL]:
                measure(path, given.steps)
        else:
            estimate(given.presets or list(PRESETS), given.precision)

    exit_on_input_error(run)


if __name__ == "__main__":
    main()
