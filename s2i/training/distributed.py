"""Where a training computes: device, precision, threads, seeds, and the processes of a distributed one."""

from __future__ import annotations

import atexit
import os
import random
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

# Imported before there is a group of processes: default arguments in it keep the group of that moment, and
# torch's wrapper of prepared nets imports it only once there is one. gloo's threads would outlive Python, and
# one that is late aborts a process whose work is done.
import torch.distributed.nn
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim import Optimizer

from s2i.config import Config
from s2i.devices import resolve_device
from s2i.errors import InputError
from s2i.freed_memory import keep_freed_memory
from s2i.processes import cores
from s2i.runs.run import begun_config
from s2i.training.joint_batch import JointBatch, join_batch_norms
from s2i.training.precision import Choice, choose
from s2i.training.profiling import part

PAIR = 2  # trainings side by side, of speech and of text, that share a machine


def set_threads(threads: int, shares: int = 1) -> int:
    """Use `threads` CPU threads, and return them; 0: OMP_NUM_THREADS, or one of so many `shares` of the cores
    that this process may have."""
    if threads == 0 and os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()  # torch has read it
    threads = threads or max(1, cores() // shares)
    torch.set_num_threads(threads)
    return threads


def set_seed(seed: int) -> None:
    """Seed Python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@dataclass(frozen=True)
class Engine:
    """Where a training computes: a device, alone or with other processes that torchrun started.

    Attributes:
        config: as it was given, but with the precision, the threads and (`s2i.training.memory_format`) the
            memory format that were chosen; so the run's folder and its checkpoints hold it.
        choice: of the precision, with its reason.
        begun: the configuration with which the run was begun; None for a new one.
        format_reason: of the memory format; empty of a training that has no choice of it.
    """

    config: Config
    accelerator: Accelerator
    choice: Choice
    begun: Config | None = None
    format_reason: str = ""

    @classmethod
    def start(cls, config: Config, reads_captions: bool = True) -> Engine:
        """Choose device, precision and threads, and seed this process with seed + rank.

        A run that continues keeps precision and threads, where the configuration leaves them open.
        Raises InputError for a GPU that is not there and for bf16 that doesn't work here.
        """
        device = resolve_device(config.device)
        # A process may train twice (tests, notebooks), with another device or precision. accelerate keeps the
        # first one's, refuses the second, and has no public way to forget: its own test cases call this too.
        AcceleratorState._reset_state(reset_partial_state=True)
        processes = PartialState(cpu=device.type == "cpu")
        begun = begun_config(config)
        threads = config.threads or (begun.threads if begun and begun.threads <= cores() else 0)
        # Trainings come in pairs: with two threads each on two cores, a step of each of two GANs side by side
        # took three to five times as long as with one thread each.
        threads = set_threads(threads, max(PAIR, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
        keep_freed_memory()
        kept = begun.precision if begun and begun.precision != "auto" else ""
        choice = choose(config, kept, processes.device, reads_captions)
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision="bf16" if choice.precision == "bf16" else "no",
            # With broadcast, two forwards of a net with batch norm before one backward fail on GPUs. Static:
            # some weights may get no gradient, the same ones each step, such as a vector's by regions alone.
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, static_graph=True)],
        )
        if accelerator.num_processes > 1:
            atexit.register(accelerator.end_training)
        torch.backends.cudnn.deterministic = True
        set_seed(config.seed + accelerator.process_index)
        return cls(replace(config, precision=choice.precision, threads=threads), accelerator, choice, begun)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def rank(self) -> int:
        return self.accelerator.process_index

    @property
    def world(self) -> int:
        return self.accelerator.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.accelerator.is_main_process

    @property
    def joint(self) -> JointBatch:
        """The batch of all processes, and this one's rows of it."""
        return JointBatch(self.rank, self.world)

    def rows(self, batch_size: int, key: str) -> int:
        """This process's rows of a step's batch. Raises InputError where they can't be dealt equally.

        `key`: of the configuration, for the error.
        """
        if batch_size % self.world:
            raise InputError(
                f"expected {key} that {self.world} processes can share equally, found {batch_size}:"
                " change either"
            )
        return batch_size // self.world

    def prepare(self, *networks: nn.Module | Optimizer) -> Any:
        """Nets and optimisers for the precision and the processes; outputs of a prepared net are float32, and
        its batch norms are over the joint batch."""
        self.join_batch_norms(*(each for each in networks if isinstance(each, nn.Module)))
        return self.accelerator.prepare(*networks)

    def join_batch_norms(self, *networks: nn.Module) -> None:
        """Batch norms over the joint batch, where there are several processes: for nets not prepared."""
        if self.world > 1:
            for network in networks:
                join_batch_norms(network)

    def unwrap(self, net: nn.Module) -> nn.Module:
        """The net that `prepare` may have wrapped."""
        return self.accelerator.unwrap_model(net)

    @part("backward")
    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, averaged over processes."""
        self.accelerator.backward(loss)

    def share(self, *nets: nn.Module) -> None:
        """Give every process the first one's weights and buffers: for nets that are not prepared."""
        if self.world > 1:
            for net in nets:
                for value in (*net.parameters(), *net.buffers()):
                    torch.distributed.broadcast(value.data, 0)

    def average_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Average the gradients of weights over the processes, after all backward passes of a step.

        For nets that are not prepared: the wrapper that `prepare` puts around a net wants each step to be one
        forward and one backward pass through all of its parameters, which a discriminator's is not.
        """
        self.joint.average_gradients(weights)

    def average(self, values: Tensor) -> Tensor:
        """The mean of values over the processes; all must call it."""
        return self.accelerator.reduce(values, "mean") if self.world > 1 else values

    def autocast(self) -> AbstractContextManager:
        """Compute in the configured precision inside, for nets that are not prepared."""
        return self.accelerator.autocast()

    def first(self) -> AbstractContextManager:
        """The first process goes through the block alone, the others after it: for what is made once."""
        return self.accelerator.main_process_first()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all must call it."""
        if self.world == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum") > 0)
