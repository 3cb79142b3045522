"""Further writers of a training's log, and what its progress says while it goes on."""

from __future__ import annotations

import math
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from s2i import progress as progress_module
from s2i.config import LogConfig
from s2i.data.images import save_png
from s2i.errors import InputError
from s2i.progress import duration, progress
from s2i.runs.log_writers import TENSORBOARD, WANDB_ID, scalars
from tests.training.test_loop import make_config, train


def show(training, net) -> None:
    """A grid of images every eight steps."""
    if training.step and training.step % 8 == 0:
        file = training.run.samples / f"step-{training.step:08d}.png"
        save_png(Image.new("RGB", (4, 2), (training.step, 0, 0)), file)
        training.run.show(training.step, file)


def test_tensorboard_has_the_lines_of_the_log_after_a_kill_too(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = LogConfig(every=4, checkpoint_every=5, tensorboard=True)
    config = make_config(tmp_path / "run", log=log)
    train(config, until=14)
    training = train(config, during=show)
    events = EventAccumulator(str(tmp_path / "run" / TENSORBOARD), purge_orphaned_data=True)
    events.Reload()
    lines = training.run.read_log()
    losses = {event.step: event.value for event in events.Scalars("loss/all")}
    assert sorted(losses) == [line["step"] for line in lines]
    assert all(math.isclose(losses[line["step"]], line["loss/all"], rel_tol=1e-5) for line in lines)
    measured = {event.step: event.value for event in events.Scalars("metric/square")}
    assert measured == pytest.approx({line["step"]: line["value"] for line in training.run.read_metrics()})
    [image] = events.Images("samples")
    assert (image.step, image.width, image.height) == (16, 4, 2)


def test_weights_and_biases_get_the_same_lines_and_a_run_goes_on_under_its_name(tmp_path, monkeypatch):
    begun, logged, ended = [], [], []

    class Stand:
        def log(self, values, step):
            logged.append((step, values))

        def finish(self):
            ended.append(True)

    fake = types.ModuleType("wandb")
    fake.init = lambda **options: begun.append(options) or Stand()
    fake.Image = lambda file: np.asarray(Image.open(file))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    log = LogConfig(every=4, checkpoint_every=5, wandb="birds")
    config = make_config(tmp_path / "run", log=log)
    train(config, until=14)
    training = train(config, during=show)
    first, second = begun
    assert first["id"] == second["id"] == (tmp_path / "run" / WANDB_ID).read_text()
    assert (first["project"], first["name"], first["resume"]) == ("birds", "run", "allow")
    assert first["config"]["log"]["wandb"] == "birds" and len(ended) == 2
    numbers = dict((step, values) for step, values in logged if "loss/all" in values)
    assert {step: scalars({"step": step, **values}) for step, values in numbers.items()} == {
        line["step"]: scalars(line) for line in training.run.read_log()
    }
    [grid] = [values["samples"] for step, values in logged if "samples" in values]
    assert grid.shape == (2, 4, 3) and grid[0, 0, 0] == 16
    logged.clear()
    train(config)  # finished: nothing begins
    assert len(begun) == 2 and not logged


def test_a_library_that_is_not_there_is_named_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"expected wandb for log.wandb=birds.*pip install"):
        train(make_config(tmp_path / "run", log=LogConfig(wandb="birds")))
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_scalars_are_the_numbers_of_a_line():
    assert scalars({"step": 3, "loss/all": 1, "note": "a", "on": True, "none": None}) == {"loss/all": 1.0}


def test_a_line_of_progress_tells_the_losses_and_the_time_that_is_left(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(clock)))
    notes = iter(("", "d 1.5", "d 0.5, g 2"))
    assert list(progress(range(2, 4), 12, "run", 2, note=lambda: next(notes))) == [2, 3]
    assert capsys.readouterr().err.splitlines() == [
        "run: 4 of 12, 20 s, about 1 min 20 s left",
        "run: 4 of 12 in 30.0 s; d 1.5",
    ]


def test_the_totals_of_a_training_stand_on_its_line(tmp_path, capsys):
    training = train(replace(make_config(tmp_path / "run")))
    training._logged = {"d/all": 1.23456, "g/all": 20.0, "lr/all": 1.0, "grad_norm/all": 2.0, "g/kl": 1.0}
    assert training._totals() == "d 1.235, g 20"
    training._logged = {"loss/classifier": 0.5, "lr/classifier": 1.0}
    assert training._totals() == "loss/classifier 0.5"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3600, "1 h"), (7530, "2 h 5 min")],
)
def test_durations_have_the_two_units_that_tell(seconds, words):
    assert duration(seconds) == words
