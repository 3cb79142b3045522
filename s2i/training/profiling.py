"""Where the time of a step goes: `profile=true` prints the share of each named part and writes a trace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from functools import partial
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function, schedule

SKIPPED, WARMING, PROFILED = 2, 1, 5  # steps: the first also make what the others use
TRACE = "trace.json"  # in the run's folder, for chrome://tracing or ui.perfetto.dev
_STEP = "ProfilerStep"  # torch's own name of a step, followed by its number

Tell = Callable[[str], None]


class part(ContextDecorator):
    """A block, or a function, that is a named part of a step. Without a profile it costs a microsecond.

    With one on a GPU it ends when the GPU has done what it was given, so that the part has its own time.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def _recreate_cm(self) -> part:  # contextlib's own way to a fresh one for each call of a function
        return part(self.name)

    def __enter__(self) -> part:
        self._range = record_function(self.name)
        self._range.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if torch.cuda.is_initialized() and torch.autograd._profiler_enabled():
            torch.cuda.synchronize()
        self._range.__exit__(*error)


def step_profiler(folder: Path, tell: Tell) -> profile:
    """A profiler of a few steps, to be told of the end of each (`step`): it writes the trace into a run's
    folder, and tells the shares line by line."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    return profile(
        activities=activities,
        schedule=schedule(wait=SKIPPED - 1, warmup=WARMING, active=PROFILED, repeat=1),
        on_trace_ready=partial(_tell, trace=folder / TRACE, tell=tell),
    )


def _tell(profiler: profile, trace: Path, tell: Tell) -> None:
    seconds, steps = shares(profiler)
    whole = seconds.pop("step")
    tell(f"{steps} steps of {whole / steps:.3g} s")
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        tell(f"{100 * spent / whole:5.1f} %  {name}")
    profiler.export_chrome_trace(str(trace))
    tell(f"the trace is {trace}")


def shares(profiler: profile) -> tuple[dict[str, float], int]:
    """Seconds of all profiled steps ("step"), of each part of them, and of the rest; and the number of steps.

    A part inside another is "outer: inner", and counts in the outer one too.
    """
    ranges = [  # a GPU's own copies of them are left out
        event
        for event in profiler.events()
        if event.is_user_annotation and event.device_type == DeviceType.CPU
    ]
    seconds: dict[str, float] = {}
    steps = [event for event in ranges if event.name.startswith(_STEP)]
    within = 0.0
    for event in ranges:
        if event.name.startswith((_STEP, "Optimizer.")):  # the latter are torch's own
            continue
        outer = [
            other
            for other in ranges
            if other is not event
            and not other.name.startswith(_STEP)
            and other.time_range.start <= event.time_range.start
            and event.time_range.end <= other.time_range.end
        ]
        name = ": ".join([*(other.name for other in sorted(outer, key=_length, reverse=True)), event.name])
        seconds[name] = seconds.get(name, 0.0) + _length(event) / 1e6
        within += 0.0 if outer else _length(event) / 1e6
    whole = sum(map(_length, steps)) / 1e6
    return {"step": whole, **seconds, "the rest": max(0.0, whole - within)}, len(steps)


def _length(event: torch.autograd.profiler_util.FunctionEvent) -> float:
    return event.time_range.end - event.time_range.start
