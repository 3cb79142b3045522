"""What every training loop stands on: device, seeds, optimisers, averaged weights, a run that can be killed.

A loop reads:

    engine = Engine.start(config)
    net = Net(...).to(engine.device)
    average = averaged(net)
    net, optimiser = engine.prepare(net, adam(net.parameters(), settings))
    with Training(engine, steps, {"net": net, "ema": average, "net_optimiser": optimiser}) as training:
        for batch in batches_from(training.step):
            rate = set_learning_rate(optimiser, settings, training.step, steps)
            optimiser.zero_grad()
            engine.backward(loss)
            norm = clip_gradients(net.parameters(), settings.clip)
            optimiser.step()
            update_average(average, net, training.step, decay)
            training.record({"loss/all": loss, "lr/net": rate, "grad_norm/net": norm})
            if training.every(1000):
                ...  # measure, draw samples, training.run.metric(...)
            training.save_if_due()
"""

from __future__ import annotations

import atexit
import math
import os
import random
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel

from s2i.config import Config, OptimiserConfig, ScheduleConfig
from s2i.config_files import config_to_dict
from s2i.errors import InputError
from s2i.processes import cores
from s2i.progress import say
from s2i.runs.checkpoint import LAST, load_last, random_state, save_last, set_random_state
from s2i.runs.run import Run, begun_config, open_run
from s2i.training.precision import Choice, choose
from s2i.training.term_means import TermMeans

PAIR = 2  # trainings side by side, of speech and of text, that share a machine
STOP_CHECK = 10  # steps between two questions to the other processes whether one was told to stop


def resolve_device(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here. InputError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("expected a GPU for device=cuda, found none: give device=cpu or device=auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


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
        config: as it was given, but with the precision and the threads that were chosen; so the run's folder
            and its checkpoints hold it.
        choice: of the precision, with its reason.
    """

    config: Config
    accelerator: Accelerator
    choice: Choice

    @classmethod
    def start(cls, config: Config, reads_captions: bool = True) -> Engine:
        """Choose device, precision and threads, and seed this process with seed + rank.

        A run that continues keeps precision and threads, where the configuration leaves them open.
        Raises InputError for a GPU that is not there and for bf16 that doesn't work here.
        """
        device = resolve_device(config.device)
        # A process may train twice (tests, notebooks); accelerate keeps the first one's device and precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        processes = PartialState(cpu=device.type == "cpu")
        begun = begun_config(config)
        threads = config.threads or (begun.threads if begun and begun.threads <= cores() else 0)
        # Trainings come in pairs: with two threads each on two cores, a step of each of two GANs side by side
        # took three to five times as long as with one thread each.
        threads = set_threads(threads, max(PAIR, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
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
        return cls(replace(config, precision=choice.precision, threads=threads), accelerator, choice)

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

    def prepare(self, *parts: nn.Module | Optimizer) -> Any:
        """Nets and optimisers for the precision and the processes; outputs of a prepared net are float32."""
        return self.accelerator.prepare(*parts)

    def unwrap(self, net: nn.Module) -> nn.Module:
        """The net that `prepare` may have wrapped."""
        return self.accelerator.unwrap_model(net)

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, averaged over processes."""
        self.accelerator.backward(loss)

    def share(self, *nets: nn.Module) -> None:
        """Give every process the first one's weights and buffers: for nets that are not prepared."""
        if self.world > 1:
            for net in nets:
                for value in (*net.parameters(), *net.buffers()):
                    torch.distributed.broadcast(value.data, 0)

    def average_gradients(self, net: nn.Module) -> None:
        """Average a net's gradients over the processes, after all backward passes of a step.

        For nets that are not prepared: the wrapper that `prepare` puts around a net wants each step to be one
        forward and one backward pass through all of its parameters, which a discriminator's is not.
        """
        if self.world > 1:
            for weight in net.parameters():
                if weight.grad is not None:
                    torch.distributed.all_reduce(weight.grad)
                    weight.grad /= self.world

    def autocast(self) -> AbstractContextManager:
        """Compute in the configured precision inside, for nets that are not prepared."""
        return self.accelerator.autocast()

    def first(self) -> AbstractContextManager:
        """The first process goes through the block alone, the others after it: for what is made once."""
        return self.accelerator.main_process_first()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all must ask."""
        if self.world == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum") > 0)


def learning_rate_factor(step: int, steps: int, schedule: ScheduleConfig) -> float:
    """The factor of `lr` at `step` (from 0) of `steps`.

    linear: 1 until start * steps, then straight to 0 at `steps`. step: times `factor` every `every` steps.
    Neither falls below `least`. The first `warmup` steps rise straight to that.
    """
    factor = 1.0
    if schedule.kind == "linear" and step > schedule.start * steps:
        factor = (steps - step) / (steps * (1 - schedule.start))
    elif schedule.kind == "step":
        factor = schedule.factor ** (step // schedule.every)
    return max(factor, schedule.least) * min(1.0, (step + 1) / max(1, schedule.warmup))


def adam(parameters: Iterable[nn.Parameter], config: OptimiserConfig) -> Adam:
    """Adam as configured; its learning rate is set each step by `set_learning_rate`."""
    return Adam(parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def set_learning_rate(optimiser: Optimizer, config: OptimiserConfig, step: int, steps: int) -> float:
    """Set and return the learning rate of `step`."""
    rate = config.lr * learning_rate_factor(step, steps, config.schedule)
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients down to the norm `limit` (0: leave them); returns the norm before."""
    parameters = list(parameters)
    if limit:
        return nn.utils.clip_grad_norm_(parameters, limit)
    return nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None])


class Training:
    """The course of one training: its step, its log, its checkpoints, and a stop that loses nothing.

    On entry the run's last checkpoint, if there is one, is put into `parts` and the random generators.
    SIGTERM and SIGINT end the training after the step in hand, with a checkpoint.

    Args:
        engine: where it computes.
        steps: after which it is finished.
        parts: all networks, averages and optimisers, prepared or not; saved and loaded by these names.
        facts: plain values that a reader of the checkpoint needs besides, such as kind and vocabulary.

    Attributes:
        run: the folder.
        step: finished steps; the loop goes on from here.
        extra: plain values of the loop's own that belong in the checkpoint, such as the best score so far.
    """

    def __init__(
        self,
        engine: Engine,
        steps: int,
        parts: dict[str, nn.Module | Optimizer],
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.engine, self.steps, self.facts = engine, steps, facts or {}
        self.optimisers = {name: part for name, part in parts.items() if isinstance(part, Optimizer)}
        self.nets = {name: engine.unwrap(part) for name, part in parts.items() if isinstance(part, nn.Module)}
        self.run: Run = open_run(engine.config, self.facts.get("kind", ""), engine.is_main)
        self.step = 0
        self.extra: dict[str, Any] = {}
        self._terms = TermMeans(engine.accelerator)
        self._stop = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Training:
        self._resume()
        lines = self.run.read_log()
        self._begun = time.monotonic() - (lines[-1].get("seconds", 0.0) if lines else 0.0)
        if not self.finished and self.engine.is_main:
            device, choice = self.engine.device, self.engine.choice
            threads = self.engine.config.threads
            on = f"{threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else "the GPU"
            say(f"{self.run.label}: computes in {choice.precision} on {on}; {choice.reason}")
            self.run.write_environment(
                device="cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
                precision=choice.precision,
                processes=self.engine.world,
                threads=threads,
            )
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._ask_to_stop) for number in _STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore_handlers()

    @property
    def finished(self) -> bool:
        return self.step >= self.steps

    def every(self, steps: int) -> bool:
        """Whether `steps` steps have passed again, or the training has ended; never where `steps` is 0."""
        return steps > 0 and self.step > 0 and (self.step % steps == 0 or self.finished)

    def record(self, terms: dict[str, Tensor | float]) -> None:
        """Count a step. Its terms (scalars) go into the log as means, every `log.every` steps.

        Raises InputError where a term isn't finite; what stands in the checkpoints is from before.
        """
        self.step += 1
        self._terms.add(terms)
        if self.every(self.engine.config.log.every):
            means = self._terms.means()
            self._refuse_not_finite(means)
            self._terms.clear()
            if self.engine.is_main:
                seconds = round(time.monotonic() - self._begun, 2)
                self.run.log({"step": self.step, "seconds": seconds, **means})

    def save_if_due(self) -> None:
        """End of a step: save every `log.checkpoint_every` steps, at the end, and when told to stop.

        Raises KeyboardInterrupt, after saving, where SIGTERM or SIGINT has come.
        """
        due = self.every(self.engine.config.log.checkpoint_every) or self.finished
        stop = self._stop
        if self.engine.world > 1:  # all at the same step, or some would wait for the others for ever
            stop = (due or self.step % STOP_CHECK == 0) and self.engine.any(self._stop)
        if due or stop:
            self.save()
        if stop and not self.finished:
            say(f"{self.run.label}: stopped and saved after step {self.step} of {self.steps}")
            raise KeyboardInterrupt

    def snapshot(self) -> dict[str, Any]:
        """What a reader needs who won't train on: step, config, facts and `nets` {name: state_dict}.

        An average is there under the names of the net that it averages.
        """
        nets = {name: _weights(net).state_dict() for name, net in self.nets.items()}
        return {"step": self.step, "config": config_to_dict(self.engine.config), **self.facts, "nets": nets}

    def save(self) -> None:
        """Write everything to `checkpoints/last.pt`; all processes must call it at the same step."""
        norms = {
            f"weights/{name}": nn.utils.get_total_norm(net.parameters()) for name, net in self.nets.items()
        }
        self._refuse_not_finite({**self._terms.means(), **norms})
        states = gather_object([random_state()]) if self.engine.world > 1 else [random_state()]
        terms = self._terms.state()
        if self.engine.is_main:
            state = {
                **self.snapshot(),
                "optimisers": {name: part.state_dict() for name, part in self.optimisers.items()},
                "extra": self.extra,
                "terms": terms,
                "random": states,
            }
            save_last(self.run.checkpoints, state, self.engine.config.log.keep)
        self.engine.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        self.engine.accelerator.wait_for_everyone()
        state = load_last(self.run.checkpoints)
        if state is not None:
            world = len(state["random"])
            if world != self.engine.world:
                raise InputError(
                    f"expected the {world} processes with which {self.run.folder} was begun,"
                    f" found {self.engine.world}: start it with torchrun --nproc-per-node {world}"
                )
            self._load(state)
            if self.engine.is_main:
                where = "finished" if self.finished else f"continues after step {self.step} of {self.steps}"
                say(f"{self.run.label}: {where}")
        if self.engine.is_main:
            self.run.rewind(self.step)
        self.engine.accelerator.wait_for_everyone()

    def _load(self, state: dict[str, Any]) -> None:
        try:
            for name, net in self.nets.items():
                _weights(net).load_state_dict(state["nets"][name])
                if isinstance(net, AveragedModel):
                    net.n_averaged.fill_(state["step"])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"expected {self.run.checkpoints / LAST} to hold this training, found another shape"
                f" ({' '.join(str(error).split())[:200]}): give another run=FOLDER"
            ) from error
        self.step, self.extra = state["step"], state["extra"]
        if "terms" in state:  # else of an earlier version: the next line of the log is of fewer steps
            self._terms.load(state["terms"])
        set_random_state(state["random"][self.engine.rank])

    def _refuse_not_finite(self, values: dict[str, float | Tensor]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise InputError(
                    f"expected finite numbers, found {name} = {float(value)} by step {self.step} of"
                    f" {self.run.folder}: lower the learning rate or the weight of a term;"
                    " the last checkpoint is from before"
                )

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True
        self._restore_handlers()  # a second one ends it at once
        say(f"{self.run.label}: stopping after this step")

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def _weights(net: nn.Module) -> nn.Module:
    return net.module if isinstance(net, AveragedModel) else net


_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
