"""python -m tests.benchmarks.suite [--quick] [--parts NAME ...] [--against DIR] [--output DIR]: one table."""

from __future__ import annotations

import s2i  # noqa: F401  (ahead of torch: it says how threads wait)

# isort: split
import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.files.atomic import write_atomically
from s2i.files.paths import given_path
from s2i.progress import say
from tests.benchmarks import memory, scaling
from tests.benchmarks.suite import against, data_rows, training_rows, use_rows
from tests.benchmarks.suite.machine import Machine, measure_machine
from tests.benchmarks.suite.table import entry, markdown
from tests.benchmarks.suite.timing import Choice, Row, time_row
from tests.benchmarks.suite.training_rows import GANS

SECONDS, QUICK_SECONDS = 10.0, 1.0  # of a row's turns, where three rounds take no longer
FILES = ("benchmark.json", "benchmark.md")
PARTS = {
    data_rows: ("front end", "resampling", *data_rows.PARTS),
    training_rows: ("encoder", "matching", "GAN"),
    use_rows: ("generation", "search", "evaluation"),
}
NAMES = [name for names in PARTS.values() for name in names]
# Counted on tensors without data, not timed; only when named, printed after the rows.
COUNTED = {
    "memory": partial(memory.benchmark, list(memory.PRESETS), "fp32", measures=False),
    "scaling": partial(scaling.estimate, list(scaling.PRESETS), "bf16"),
}


def main() -> None:
    """Read the command line."""
    parser: argparse.ArgumentParser = Parser(description="Time every part against its plain form.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, sizes and images")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=[*NAMES, *COUNTED],
        default=[],
        metavar="NAME",
        help=f"of {', '.join(NAMES)} (default: all of these), and {' and '.join(COUNTED)}, which are counted",
    )
    parser.add_argument("--sizes", nargs="+", choices=tuple(GANS), default=[], help="(default: all)")
    parser.add_argument(
        "--precisions", nargs="+", choices=("fp32", "bf16"), default=[], help="of training (default: all)"
    )
    parser.add_argument(
        "--against",
        type=given_path,
        action="append",
        default=[],
        metavar="DIR",
        help="checkout of AttnGAN or S2IGAN, whose modules are timed on the same shapes; repeatable",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--output", type=given_path, metavar="DIR", help=f"folder for {' and '.join(FILES)} (default: none)"
    )
    given = parser.parse_args()
    exit_on_input_error(lambda: _run(given))


def _run(given: argparse.Namespace) -> None:
    if given.threads < 1:
        raise InputError(f"expected a number of threads of 1 or more, found {given.threads}: check --threads")
    torch.set_num_threads(given.threads)
    if not given.parts or given.against or set(given.parts) - set(COUNTED):
        _time(given)
    for name in COUNTED:
        if name in given.parts:
            COUNTED[name]()


def _time(given: argparse.Namespace) -> None:
    machine, entries = measure_machine(), []
    choice = Choice(given.quick, *map(tuple, (given.parts, given.sizes, given.precisions)))
    for row in _rows(choice, given.against):
        timed = time_row(row, QUICK_SECONDS if given.quick else SECONDS)
        entries.append(entry(timed, machine))
        if given.output is not None:
            _write(given.output, machine, given.quick, entries)
        say(f"{row.part}: {row.name} {row.size} {row.precision}: {entries[-1]['ratio']}")
    print(markdown(entries, machine), end="")


def _write(folder: Path, machine: Machine, quick: bool, entries: list[dict[str, Any]]) -> None:
    """All rows so far, after each: a benchmark that is killed leaves what it has measured."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"machine": machine.facts(), "quick": quick, "rows": entries}
    texts = json.dumps(whole, indent=1) + "\n", markdown(entries, machine)
    for name, text in zip(FILES, texts, strict=True):
        with write_atomically(folder / name) as stream:
            stream.write(text)


def _rows(choice: Choice, checkouts: list[Path]) -> Iterator[Row]:
    """The rows that are asked for; then those of the checkouts."""
    for module, names in PARTS.items():
        if not choice.components or set(choice.components) & set(names):
            yield from (row for row in module.rows(choice) if choice.has(row.part, row.size))
    for checkout in checkouts:
        yield from against.rows(checkout, choice.quick)


if __name__ == "__main__":
    main()
