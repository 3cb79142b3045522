from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from errno import ENOLCK
from pathlib import Path

import pytest
from filelock import FileLock

from s2i.config_files import save_config
from s2i.data.pack_builder import build_pack
from s2i.errors import InputError
from s2i.files.locks import LOCK, only_process
from s2i.training.encoder import train_encoder
from tests.fixtures.data import tiny_config, write_telling_data, write_tiny_data
from tests.fixtures.models import tiny_training_config

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
# Holds a folder, starts a process of its own as a data loader does, and works on.
HOLD = """
import os, sys, time
from s2i.files.locks import only_process
with only_process(sys.argv[1]):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process, at work in `tmp_path / "run"`; with it the number of its child."""
    started = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    child = int(started.stdout.readline())
    yield started
    started.kill()
    started.wait()
    os.kill(child, signal.SIGKILL)


def test_a_second_process_is_refused_with_the_firsts_number_and_machine(tmp_path, holder):
    with pytest.raises(InputError, match=rf"tmp.*/run.* process {holder.pid} on \S+ at work there"):
        with only_process(tmp_path / "run"):
            pytest.fail("it was let in")


def test_a_killed_owner_is_recognised_though_its_child_lives_on(tmp_path, holder, capsys):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists()
    with only_process(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run" / LOCK).exists()
    assert capsys.readouterr().err == ""


def test_a_living_process_of_the_number_in_a_left_lock_is_not_taken_for_its_owner(tmp_path):
    with only_process(tmp_path):
        owner = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text(json.dumps({**owner, "pid": os.getppid()}))  # it lives, and is another
    with only_process(tmp_path):
        pass


def test_a_lock_left_by_another_machine_is_taken_with_a_word(tmp_path, capsys):
    (tmp_path / LOCK).write_text('{"pid": 7, "host": "elsewhere"}')
    with only_process(tmp_path):
        pass
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "process 7 on elsewhere" in said


@pytest.mark.parametrize("left", ["", "[1]", "\0\0", '{"pid": 7'])
def test_a_lock_that_was_cut_short_stops_nobody(tmp_path, left):
    (tmp_path / LOCK).write_text(left)
    with only_process(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_of_a_lock_nor_of_folders_made_for_it(tmp_path):
    with only_process(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).exists()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), only_process(tmp_path / "a" / "b"):
        (tmp_path / "a" / "mine").touch()
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "mine"]


def test_where_locks_do_not_work_a_line_says_so_and_the_work_goes_on(tmp_path, monkeypatch, capsys):
    def refuse(self: FileLock, **_: object) -> None:
        raise OSError(ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with only_process(tmp_path / "run"):
        (tmp_path / "run" / "made").touch()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "No locks available" in said
    assert (tmp_path / "run" / "made").exists()


def test_a_file_in_the_place_of_the_folder_is_left_to_who_writes_there(tmp_path, capsys):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        with only_process(place):
            pass
    assert capsys.readouterr().err == "" and (tmp_path / "file").is_file()


def test_who_waits_goes_on_when_the_other_is_done(tmp_path, capsys):
    order = []

    def second() -> None:
        with only_process(tmp_path, wait=True):
            order.append("second")

    with only_process(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert "waiting for process" in capsys.readouterr().err


def test_a_split_that_is_being_packed_is_packed_by_nobody_else(tmp_path):
    write_tiny_data(tmp_path)
    config = tiny_config(tmp_path)
    with only_process(tmp_path / "pack", ".val.lock"):
        with pytest.raises(InputError, match="at work there"):
            build_pack(config, ["val"])
        build_pack(config, ["train"])
    build_pack(config, ["val"])
    assert {path.name for path in (tmp_path / "pack").iterdir()} == {"train", "val"}


def test_two_trainings_in_one_run_are_one(tmp_path):
    (tmp_path / "data").mkdir()
    write_telling_data(tmp_path / "data")
    config = tiny_training_config(tmp_path / "data", tmp_path / "run")
    build_pack(config, ("train", "val"))
    config = replace(
        config, matching=replace(config.matching, steps=100_000), log=replace(config.log, every=1)
    )
    save_config(config, tmp_path / "c.yaml")
    first = subprocess.Popen(
        [sys.executable, "-m", "s2i", "train-encoder", "--config", str(tmp_path / "c.yaml")],
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    try:
        log = tmp_path / "run" / "log.jsonl"
        while not log.exists():
            assert first.poll() is None
            time.sleep(0.1)
        with pytest.raises(InputError, match=f"process {first.pid} on"):
            train_encoder(config)
        with pytest.raises(InputError, match=f"process {first.pid} on"):  # whatever it would change
            train_encoder(replace(config, seed=3))
    finally:
        first.kill()
        first.wait()
    steps = [
        json.loads(line)["step"] for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")
    ]
    assert steps == list(range(1, len(steps) + 1))
