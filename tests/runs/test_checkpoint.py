"""Checkpoints are whole or refused, hold no code, and put every random generator back."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from s2i.errors import InputError
from s2i.files.unfinished import PART
from s2i.runs.checkpoint import (
    load_last,
    random_state,
    random_state_kept,
    read_checkpoint,
    save_last,
    set_random_state,
    write_checkpoint,
)


def generate() -> tuple[float, float, float]:
    return random.random(), float(np.random.normal()), float(torch.randn(()))


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_equal(tmp_path):
    state = {"step": 3, "nets": {"a": {"weight": torch.arange(6.0)}}, "extra": {"best": None}}
    write_checkpoint(tmp_path / "some.pt", state)
    checkpoint = read_checkpoint(tmp_path / "some.pt")
    assert torch.equal(checkpoint["nets"]["a"]["weight"], torch.arange(6.0))
    assert checkpoint["step"] == 3 and checkpoint["extra"] == {"best": None}


def test_random_states_are_read_with_weights_only_and_continue_the_same_numbers(tmp_path):
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    np.random.normal()  # leaves a second number waiting in numpy's state
    write_checkpoint(tmp_path / "some.pt", {"random": random_state()})
    expected = generate(), generate()
    generate()
    set_random_state(torch.load(tmp_path / "some.pt", weights_only=True)["random"])
    assert (generate(), generate()) == expected


def test_what_is_generated_while_measuring_moves_no_generator():
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    expected = generate()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    with random_state_kept():
        generate()
    assert generate() == expected


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused_by_name(tmp_path, part):
    path = tmp_path / "last.pt"
    write_checkpoint(path, {"step": 1, "weights": torch.zeros(5000)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(InputError, match="last.pt"):
        load_last(tmp_path)


def test_a_file_of_another_program_is_refused(tmp_path):
    torch.save({"model": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="format 1, found None"):
        read_checkpoint(tmp_path / "other.pt")


def test_a_file_that_holds_code_is_refused(tmp_path):
    torch.save({"format": 1, "call": print}, tmp_path / "code.pt")
    with pytest.raises(InputError, match="code.pt"):
        read_checkpoint(tmp_path / "code.pt")


def test_a_missing_file_is_named_but_a_run_without_one_is_new(tmp_path):
    with pytest.raises(InputError, match="none at"):
        read_checkpoint(tmp_path / "last.pt")
    assert load_last(tmp_path) is None


def test_only_the_asked_for_number_of_older_checkpoints_is_kept(tmp_path):
    for step in (100, 200, 300, 400):
        save_last(tmp_path, {"step": step}, keep=2)
    assert names(tmp_path) == ["last.pt", "step-00000200.pt", "step-00000300.pt", "step-00000400.pt"]
    assert load_last(tmp_path)["step"] == 400
    assert read_checkpoint(tmp_path / "step-00000200.pt")["step"] == 200


def test_nothing_else_is_kept_by_default_and_a_killed_write_is_cleared_away(tmp_path):
    (tmp_path / f".last.pt.abcdefgh{PART}").write_bytes(b"half")
    save_last(tmp_path, {"step": 1})
    assert names(tmp_path) == ["last.pt"]


def test_copies_that_a_person_has_put_there_are_never_removed(tmp_path):
    copies = [".last.pt.mine", "step-00000001-copy.pt", "step-1.pt", "step-best.pt"]
    for name in copies:
        (tmp_path / name).write_bytes(b"mine")
    for step in (100, 200, 300):
        save_last(tmp_path, {"step": step}, keep=1)
    kept = ["last.pt", "step-00000200.pt", "step-00000300.pt"]
    assert names(tmp_path) == sorted([*copies, *kept])


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path):
    save_last(tmp_path, {"step": 1})
    with pytest.raises(Exception, match="pickle"):
        save_last(tmp_path, {"step": 2, "bad": lambda: None})
    assert load_last(tmp_path)["step"] == 1
    assert names(tmp_path) == ["last.pt"]
