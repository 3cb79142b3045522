"""What a training step of each preset takes of memory, and the micro-batches that devices leave room for.

    python tests/benchmarks/memory.py [--measure] [--precision fp32|bf16] [PRESET.yaml ...]

A row a preset of a generator: counted bytes of a step with the whole batch, with the whole batch and every
network computed again in the backward pass, and with the parts that `memory=8gb` and so on choose. Counting
takes no memory, so it works for any size on any machine. `--measure` takes the steps too, in a process each:
the bytes of all tensors that were there at one time, and how much the process grew (Linux), or what CUDA had
allocated.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch

from s2i.config import Config
from s2i.config_files import load_config
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.training.gan_memory import GanStep, count_gan_peak
from s2i.training.memory import GIB, USABLE, LiveBytes, candidates

CONF = Path(__file__).parents[2] / "recipes"
PRESETS = tuple(
    CONF / name
    for name in (
        "painted_birds/conf/default.yaml",
        "cub/conf/small128.yaml",
        "cub/conf/s2igan.yaml",
        "cub/conf/stackgan_v2.yaml",
        "cub/conf/attngan.yaml",
        "cub/conf/attngan4.yaml",
    )
)
DEVICES = ("8gb", "16gb", "24gb", "80gb")


def count(config: Config, device: str = "cpu") -> Iterator[tuple[int, int]]:
    """(rows at once, counted bytes) of a configuration, from the most memory to what the smallest device has
    room for."""
    for number, rows in enumerate(candidates(config.gan.batch_size)):
        peak = count_gan_peak(replace(config, micro_batch=rows), config.gan.batch_size, device)
        yield rows, peak
        if number and peak <= budget(DEVICES[0]):
            return


def budget(memory: str) -> float:
    """Bytes of a device that a step may take."""
    return USABLE * int(memory.removesuffix("gb")) * GIB


def chosen(counted: list[tuple[int, int]], memory: str) -> tuple[int, int] | None:
    """What a device of so much memory has room for; None: not even two rows."""
    return next(((rows, peak) for rows, peak in counted if peak <= budget(memory)), None)


def measure(path: Path, rows: int, precision: str) -> dict[str, float]:
    """Take steps in a process of their own: GiB by tensors, and by growth of the process or CUDA's count."""
    words = [sys.executable, __file__, "--one", str(rows), "--precision", precision, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def take_step(path: Path, rows: int, precision: str) -> dict[str, float]:
    """A step here."""
    config = replace(load_config(path), micro_batch=rows, precision=precision)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with LiveBytes() as live:
        step = GanStep(config, config.gan.batch_size, device)
        live.peak = live.now
        step()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if device.type == "cuda":
        grown = torch.cuda.max_memory_allocated(device)
    return {"tensors": live.peak / GIB, "grown": grown / GIB}


def cell(rows: int, batch_size: int, peak: int) -> str:
    """Rows at once, and GiB."""
    name = "whole" if not rows else "again" if rows >= batch_size else str(rows)
    return f"{name} {peak / GIB:.2f}"


def benchmark(paths: list[Path], precision: str, measures: bool) -> None:
    """Print a line a preset."""
    print(f"GiB of a step, {precision}; whole batch / computed again / what fits (rows at once)")
    print(
        f"{'preset':28}{'px':>5}{'batch':>7}{'whole':>9}{'again':>9}" + "".join(f"{d:>12}" for d in DEVICES)
    )
    for path in paths:
        config = replace(load_config(path), precision=precision)
        size = config.gan.batch_size
        try:
            counted = list(count(config))
        except InputError as error:
            print(f"{path.parent.parent.name}/{path.stem}: {error}")
            continue
        fits = [chosen(counted, device) for device in DEVICES]
        cells = [cell(each[0], size, each[1]) if each else "-" for each in fits]
        print(
            f"{path.parent.parent.name + '/' + path.stem:28}{config.generated_size:5}{size:7}"
            f"{counted[0][1] / GIB:9.2f}{counted[1][1] / GIB:9.2f}"
            + "".join(f"{each:>12}" for each in cells),
            flush=True,
        )
        for rows, peak in counted[:3] if measures else ():
            measurement = SimpleNamespace(**measure(path, rows, precision))
            print(
                f"    {cell(rows, size, peak)} counted: {measurement.tensors:.2f} by tensors,"
                f" {measurement.grown:.2f} grown",
                flush=True,
            )


def main() -> None:
    """Read the command line."""
    parser: argparse.ArgumentParser = Parser(description="Count and measure the memory of training steps.")
    parser.add_argument("presets", nargs="*", type=Path, default=PRESETS, metavar="PRESET.yaml")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="(default: fp32)")
    parser.add_argument("--measure", action="store_true", help="take the steps too")
    parser.add_argument("--one", type=int, metavar="ROWS", help="take a step of one preset, and print JSON")
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(take_step(given.presets[0], given.one, given.precision)))
        return
    exit_on_input_error(lambda: benchmark(list(given.presets), given.precision, given.measure))


if __name__ == "__main__":
    main()
