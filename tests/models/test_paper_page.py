"""s2i/models/README.md against the code: each function exists, and its source carries the mark beside it."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HEADER = "| equation | function | mark |"
ROW = re.compile(r"^\| (.+?) \| `(s2i\.[\w.]+)` \|(?: `(#[^`]+)`)? \|$", re.MULTILINE)
PAGE = (ROOT / "s2i" / "models" / "README.md").read_text(encoding="utf-8")
ROWS = ROW.findall(PAGE)


def _import(dotted_name: str) -> Any:
    """The function or method of a dotted name."""
    names = dotted_name.split(".")
    for length in range(len(names), 0, -1):
        try:
            value = import_module(".".join(names[:length]))
        except ModuleNotFoundError:
            continue
        for name in names[length:]:
            value = getattr(value, name)
        return value
    raise AssertionError(dotted_name)


@pytest.mark.parametrize(("equation", "name", "mark"), ROWS, ids=[row[0][:40] for row in ROWS])
def test_the_function_carries_the_mark(equation, name, mark):
    function = _import(name)
    assert inspect.isfunction(function)
    if mark:  # a whole number of an equation: "# eq. 1" is not in "# eq. 12"
        assert re.search(re.escape(mark) + r"(?![\w-])", inspect.getsource(function))


def test_no_row_is_skipped():
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and "---" not in line]
    assert len(ROWS) == len(rows) - PAGE.count(HEADER) > 40


def test_every_marked_equation_of_losses_networks_and_the_gan_step_is_on_the_page():
    package = ROOT / "s2i"
    steps = [package / "training" / name for name in ("gan_step.py", "gan_losses.py")]
    for path in (package / "losses.py", *steps, *(package / "models").glob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        marks = set(re.findall(r"# eq\. [\d-]+(?: and \d+)?", path.read_text(encoding="utf-8")))
        assert marks <= {mark for _, name, mark in ROWS if name.startswith(f"{module}.")}


def test_every_loss_is_on_the_page():
    losses = import_module("s2i.losses")
    on_the_page = {name.rpartition(".")[2] for _, name, _ in ROWS}
    without_equation = {"same_class_mask", "wrong_partner", "squared_gradient", "generator_loss"}
    functions = {
        name
        for name, value in vars(losses).items()
        if inspect.isfunction(value) and value.__module__ == "s2i.losses" and not name.startswith("_")
    }
    assert functions - without_equation <= on_the_page
