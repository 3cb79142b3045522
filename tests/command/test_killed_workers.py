"""A process of a pool, or of a loader, that is killed ends the command with one line; nothing waits."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from data_prep import painted_birds
from data_prep.voices.speak import in_pool
from s2i.config_files import save_config
from s2i.data.loader import _from_living_processes, _print_unless_lost, begin_loader_process
from s2i.data.pack_builder import build_pack
from s2i.errors import BAD_INPUT, INTERRUPTED, InputError, LoaderLost
from s2i.processes import in_processes
from tests.fixtures.data import write_tiny_data
from tests.fixtures.dying import die_at, die_at_image_3
from tests.fixtures.models import tiny_training_config


def test_a_killed_process_of_a_pool_raises_an_input_error():
    with pytest.raises(InputError, match="found one killed"):
        list(in_processes(partial(die_at, 3), ((job,) for job in range(20)), 2))


def test_a_killed_process_that_synthesises_raises_an_input_error():
    with pytest.raises(InputError, match="found one dead"):
        with in_pool(partial(die_at, 3), range(200), 2) as made:
            list(made)


def test_a_killed_process_that_draws_raises_an_input_error(tmp_path, monkeypatch):
    monkeypatch.setattr(painted_birds, "_make_image", die_at_image_3)
    with pytest.raises(InputError, match="one was ended from outside"):
        list(painted_birds._make_all(tmp_path, painted_birds.Settings(), range(40), 2))


@pytest.fixture
def training(tmp_path):
    """A training with two loader processes, well under way; its log. It is ended with its group."""
    write_tiny_data(tmp_path)
    config = tiny_training_config(tmp_path, tmp_path / "run")
    save_config(config, tmp_path / "c.yaml")
    build_pack(config, ("train", "val"))
    words = ["matching.steps=1000000", "matching.validate_every=1000000", "data.workers=2", "log.every=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "s2i", "train-encoder", "--config", str(tmp_path / "c.yaml"), *words],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    log = tmp_path / "run" / "log.jsonl"
    for _ in range(600):
        if log.exists() and len(log.read_bytes()) > 1000 or process.poll() is not None:
            break
        time.sleep(0.1)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def children(process: subprocess.Popen) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    return [int(word) for word in listed.stdout.split()]


def test_a_killed_loader_process_ends_the_training_in_one_line(training):
    process_ids = children(training)
    os.kill(process_ids[0], signal.SIGKILL)
    _, output = training.communicate(timeout=60)
    *_, last = output.decode().splitlines()
    assert training.returncode == BAD_INPUT and "Traceback" not in output.decode()
    assert last.startswith("s2i: error: expected every loader process to live")
    for number in process_ids:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


# Loads batches with two processes and holds every lock that one of them may hold as it is killed.
HOLDING_LOCKS = """
import os, signal, sys, time
from multiprocessing import synchronize
from pathlib import Path
from s2i.data.dataset import CaptionedImages
from s2i.data.loader import endless_batches
from s2i.data.pack import Pack
from s2i.errors import exit_on_input_error

locks, create = [], synchronize.Lock.__init__

def create_and_keep(lock, *, ctx):
    create(lock, ctx=ctx)
    locks.append(lock)

def main():
    pack = Pack(Path(sys.argv[1]))
    dataset = CaptionedImages(pack, seed=7, image_size=16, modality="speech", same_class=True)
    synchronize.Lock.__init__ = create_and_keep
    batches = endless_batches(dataset, 4, seed=1, workers=2)
    next(batches)
    loader = batches.gi_frame.f_locals["batches"]
    for lock in locks:
        if lock is not loader._worker_result_queue._rlock:  # which no loader process takes
            lock.acquire(False)
    process_ids = [worker.pid for worker in loader._workers]
    print(*process_ids, flush=True)
    if os.fork() == 0:
        time.sleep(2)  # until the next batch is waited for
        os.kill(process_ids[0], signal.SIGKILL)
        os._exit(0)
    while True:
        next(batches)

exit_on_input_error(main)
"""


def test_locks_of_a_killed_loader_process_are_not_waited_for(tmp_path):
    config = tiny_training_config(tmp_path, tmp_path / "run")
    write_tiny_data(tmp_path)
    build_pack(config, ("train",))
    command = [sys.executable, "-c", HOLDING_LOCKS, str(tmp_path / "pack" / "train")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == BAD_INPUT and len(errors.splitlines()) == 1
    assert errors.startswith("s2i: error: expected every loader process to live")
    for number in output.split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(number), 0)


def test_a_connection_cut_off_while_a_batch_is_handed_over_is_a_lost_loader():
    def raising(error: Exception) -> Iterator[int]:
        yield 1
        raise error

    refused = ConnectionRefusedError(111, "refused")
    for lost in (EOFError(), ConnectionResetError(104, "reset"), refused, BrokenPipeError(32, "broken")):
        batches = _from_living_processes(raising(lost))
        assert next(batches) == 1
        with pytest.raises(LoaderLost):
            next(batches)
    of_a_file = EOFError("Caught EOFError in DataLoader worker process 0.\nEOFError: no data left")
    with pytest.raises(EOFError, match="no data left"):
        list(_from_living_processes(raising(of_a_file)))


def test_a_connection_that_the_training_cuts_off_prints_nothing_in_a_loader_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", _print_unless_lost)
    for error in (EOFError(), ConnectionResetError(104, "reset")):
        sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == ""
    sys.excepthook(ValueError, ValueError("a fault"), None)
    assert "a fault" in capsys.readouterr().err


def test_an_interrupt_from_the_keyboard_saves_and_is_one_line(training, tmp_path):
    os.killpg(training.pid, signal.SIGINT)  # as a terminal does: the loader processes get it too
    _, output = training.communicate(timeout=60)
    assert training.returncode == INTERRUPTED and "Traceback" not in output.decode()
    assert output.decode().splitlines()[-1] == "s2i: interrupted; the same command continues"
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


def test_a_signal_to_the_whole_group_is_the_trainings_which_saves(training, tmp_path):
    os.killpg(training.pid, signal.SIGTERM)  # as timeout, a recipe's script and a job's end do
    _, output = training.communicate(timeout=60)
    assert training.returncode == INTERRUPTED and "Traceback" not in output.decode()
    *_, stopping, last = output.decode().splitlines()
    assert "stopped and saved after step" in stopping
    assert last == "s2i: interrupted; the same command continues"


def test_a_loader_process_ends_when_its_training_ends_it():
    """What torch does to one that doesn't end by itself, and multiprocessing at exit."""
    process = multiprocessing.get_context("fork").Process(target=_serve)
    process.start()
    process.join(1)
    os.kill(process.pid, 0)
    process.terminate()
    process.join(30)
    assert process.exitcode == 0


def _serve() -> None:
    begin_loader_process(0)
    time.sleep(60)
