"""The course of a training: its steps, log and checkpoints, and a run that may be killed anywhere.

A loop reads:

    engine = Engine.start(config)
    net = Net(...).to(engine.device)
    average = averaged(net)
    net, optimiser = engine.prepare(net, adam(net.parameters(), settings))
    with Training(engine, steps, {"net": net, "ema": average, "net_optimiser": optimiser}) as training:
        while not training.finished:
            batch = training.fetch(batches)
            rate = set_learning_rate(optimiser, settings, training.step, steps)
            optimiser.zero_grad()
            engine.backward(loss)
            norm = clip_gradients(net.parameters(), settings.clip)
            optimiser.step()
            update_average(average, net, training.step, decay)
            training.record({"loss/all": loss, "lr/net": rate, "grad_norm/net": norm})
            if training.every(1000):
                ...  # measure, generate samples, training.run.metric(...)
            training.save_if_due()
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from torch.profiler import profile

from s2i.config_files import config_to_dict
from s2i.data.batches import Batch
from s2i.errors import InputError
from s2i.progress import progress, say
from s2i.runs.checkpoint import LAST, load_last, random_state, save_last, set_random_state
from s2i.runs.log_writers import open_writers
from s2i.runs.run import Run, open_run
from s2i.training.distributed import Engine
from s2i.training.optim import load_optimiser
from s2i.training.pace import Pace
from s2i.training.profiling import part, step_profiler
from s2i.training.term_means import TermMeans

STOP_CHECK = 10  # steps between two checks whether another process has been asked to stop


class Training:
    """The course of one training: its step, its log, its checkpoints, and a stop that loses nothing.

    On entry the run's last checkpoint, if there is one, is put into `saved` and the random generators.
    SIGTERM and SIGINT end the training after the step in hand, with a checkpoint.

    Args:
        engine: where it computes.
        steps: after which it is finished.
        saved: all networks, averages and optimisers, prepared or not; saved and loaded by these names.
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
        saved: dict[str, nn.Module | Optimizer],
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.engine, self.steps, self.facts = engine, steps, facts or {}
        self.optimisers = {name: each for name, each in saved.items() if isinstance(each, Optimizer)}
        self.nets = {name: engine.unwrap(each) for name, each in saved.items() if isinstance(each, nn.Module)}
        self.run: Run = open_run(engine.config, self.facts.get("kind", ""), engine.is_main)
        self.step = 0
        self.extra: dict[str, Any] = {}
        self.pace = Pace(engine.world)
        self._terms = TermMeans(engine.accelerator)
        self._profiler: profile | None = None
        self._logged: dict[str, float] = {}
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
            if self.engine.format_reason:
                lie = self.engine.config.memory_format.replace("_", " ")
                say(f"{self.run.label}: image networks are {lie}; {self.engine.format_reason}")
            self.run.write_environment(
                self.step,
                device="cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
                precision=choice.precision,
                processes=self.engine.world,
                threads=threads,
                last_step=self.steps,
            )
            self.run = replace(self.run, writers=open_writers(self.run.folder, self.engine.config, self.step))
        if self.engine.config.profile and not self.finished and self.engine.is_main:
            self._profiler = step_profiler(self.run.folder, lambda line: say(f"{self.run.label}: {line}"))
            self._profiler.__enter__()
        self.pace.take()
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._ask_to_stop) for number in _STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self.run.writers:
            writer.close()
        if self._profiler is not None:
            self._profiler.__exit__(None, None, None)
        self._restore_handlers()

    @property
    def finished(self) -> bool:
        return self.step >= self.steps

    def every(self, steps: int) -> bool:
        """Whether `steps` steps have passed again, or the training has ended; never where `steps` is 0."""
        return steps > 0 and self.step > 0 and (self.step % steps == 0 or self.finished)

    def fetch(self, batches: Iterator[Batch]) -> Batch:
        """The next batch, on the device; the log has how long the training waits for them."""
        with part("data"):
            batch = self.pace.next_of(batches)
            return batch.to(self.engine.device)

    def steps_left(self) -> Iterator[int]:
        """Its steps from here on, with a line of how far it is, the losses and the time that is left."""
        steps = range(self.step, self.steps)
        return progress(steps, self.steps, self.run.label, self.step, note=self._totals)

    def _totals(self) -> str:
        """The totals of the latest line of the log, in words; "" before the first."""
        shown = {
            name: value
            for name, value in self._logged.items()
            if name.endswith(("/all", "/classifier")) and name.partition("/")[0] not in ("lr", "grad_norm")
        }
        return ", ".join(f"{name.removesuffix('/all')} {value:.4g}" for name, value in shown.items())

    def record(self, terms: dict[str, Tensor | float]) -> None:
        """Count a step. Its terms (scalars) go into the log as means, every `log.every` steps.

        Raises InputError where a term isn't finite; what stands in the checkpoints is from before.
        """
        self.step += 1
        self._terms.add(terms)
        if self._profiler is not None:
            self._profiler.step()
        if self.every(self.engine.config.log.every):
            means, pace = self._terms.means(), self.pace.take()
            self._refuse_not_finite(means)
            self._terms.clear()
            self._logged = means
            if self.engine.is_main:
                seconds = round(time.monotonic() - self._begun, 2)
                self.run.log({"step": self.step, "seconds": seconds, **pace, **means})

    def save_if_due(self) -> None:
        """End of a step: save every `log.checkpoint_every` steps, at the end, and after SIGTERM or SIGINT.

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
        """What evaluation and export read of a checkpoint: step, config, facts and `nets` {name: state_dict}.

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
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
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
                load_optimiser(optimiser, state["optimisers"][name])
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
