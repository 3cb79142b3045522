"""Where a training's time goes: its pace in the log, the shares of a profile, and the trace."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from s2i.data.pack_builder import build_pack
from s2i.runs.run import Run
from s2i.training import pace
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.pace import Pace
from s2i.training.profiling import PROFILED, TRACE, part, shares
from tests.fixtures.data import write_telling_data
from tests.fixtures.models import tiny_training_config


class Images(list):
    """As many as a batch has."""


def test_the_pace_is_of_what_came_since_the_last_line(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 3.0, 4.0, 10.0, 10.0, 20.0, 20.0])
    monkeypatch.setattr(pace.time, "perf_counter", lambda: next(clock))
    counted = Pace(processes=2)
    batches = repeat(Images([0] * 5))
    for _ in range(2):  # from 1 to 3 and from 3 to 4
        counted.next_of(batches)
    assert counted.take() == {"images_per_second": 2.0, "waiting_for_data": 0.3}  # 2 x 10 in 10 s
    assert counted.take() == {"images_per_second": 0.0, "waiting_for_data": 0.0}


def test_shares_are_of_the_step_and_parts_are_named_within_their_parts():
    @part("backward")
    def backward() -> None:
        time.sleep(0.02)

    @part("outer")
    def outer() -> None:
        time.sleep(0.02)
        backward()

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        with torch.profiler.record_function("ProfilerStep#1"):
            outer()
            outer()
            with part("other"), part("inner"):
                time.sleep(0.02)
            time.sleep(0.02)
    names = ("outer", "outer: backward", "other", "other: inner")
    seconds, steps = shares(profiler)
    assert steps == 1 and set(seconds) == {"step", *names, "the rest"}
    assert seconds["outer"] > 1.5 * seconds["outer: backward"] > 0.03
    top = seconds["outer"] + seconds["other"] + seconds["the rest"]
    assert top == pytest.approx(seconds["step"], rel=0.01)


def test_a_gpus_copies_of_the_ranges_are_not_counted_again():
    ranges = [("ProfilerStep#2", 0, 9e6), ("generate", 1e6, 4e6)]
    events = [
        FunctionEvent(0, name, 0, start, end, device_type=device, is_user_annotation=True)
        for device in (DeviceType.CPU, DeviceType.CUDA)
        for name, start, end in ranges
    ]
    seconds, steps = shares(SimpleNamespace(events=lambda: events))
    assert steps == 1 and seconds == {"step": 9, "generate": 3, "the rest": 6}


def test_a_profile_prints_shares_writes_a_trace_and_changes_no_bits(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    write_telling_data(data)
    config = tiny_training_config(data, tmp_path / "speech-gan")
    build_pack(config, ["train", "val"])
    train_encoder(tiny_training_config(data, tmp_path / "speech-encoder"))
    train_gan(config)
    capsys.readouterr()
    profiled = Path(train_gan(replace(config, run=str(tmp_path / "profiled"), profile=True)))
    stderr = capsys.readouterr().err
    assert f"profiled: {PROFILED} steps of " in stderr and f"the trace is {profiled / TRACE}" in stderr
    names = ("data", "generate", "discriminators", "discriminators: backward", "discriminators: update")
    for name in (*names, "relation supervisor", "generator: backward", "average", "the rest"):
        assert f" %  {name}\n" in stderr
    events = json.loads((profiled / TRACE).read_text())["traceEvents"]
    assert {"generate", "backward"} <= {event.get("name") for event in events}
    states = [
        torch.load(run / "checkpoints" / "last.pt", weights_only=True)["nets"]
        for run in (tmp_path / "speech-gan", profiled)
    ]
    for name, tensors in states[0].items():
        assert all(torch.equal(value, states[1][name][key]) for key, value in tensors.items()), name
    for line in Run(profiled).read_log():
        assert line["images_per_second"] > 0 and 0 < line["waiting_for_data"] < 1
