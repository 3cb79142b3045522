"""s2i/models/README.md against the code: each line it quotes is in the function that it names."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (.+?) \| `(s2i\.[\w.]+)` \| `(.+)` \|$", re.MULTILINE)
PAGE = (ROOT / "s2i" / "models" / "README.md").read_text(encoding="utf-8")
ROWS = ROW.findall(PAGE)


def _find(name: str) -> Any:
    """The function or method of a dotted name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


@pytest.mark.parametrize(("equation", "name", "line"), ROWS, ids=[row[0][:40] for row in ROWS])
def test_the_line_is_in_the_function(equation, name, line):
    found = _find(name)
    assert inspect.isfunction(found)
    squeezed = "".join(inspect.getsource(found).split())
    assert "".join(line.split()) in squeezed


def test_no_row_is_passed_over():
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and "---" not in line]
    assert len(ROWS) == len(rows) - PAGE.count("| equation | function | line |") > 40


def test_every_loss_is_on_the_page():
    losses = import_module("s2i.losses")
    named = {name.rpartition(".")[2] for _, name, _ in ROWS}
    parts = {
        "same_class_mask",
        "wrong_partner",
        "squared_gradient",
        "generator_loss",
    }  # no equation of a paper
    functions = {
        name
        for name, found in vars(losses).items()
        if inspect.isfunction(found) and found.__module__ == "s2i.losses" and not name.startswith("_")
    }
    assert functions - parts <= named
