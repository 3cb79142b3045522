"""Whether time and memory of each part stay flat as data grow, and memory as steps go by.

    python tests/benchmarks/data_sizes.py [--times 1 10 100] [--steps N]

Packs a small data set of tones and colours, its images repeated 1, 10 and 100 times, and trains an encoder
and a generator on each pack for some steps: what a part needs should be the same a caption and a step,
whatever the size. Each part is a process of its own; what it held at most is the kernel's count, and its time
is the processor's. Then a generator is trained for N steps, and the memory that the process holds is printed
at every tenth of them (Linux).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from s2i.config import Config  # noqa: E402
from s2i.config_files import load_config, save_config  # noqa: E402
from s2i.errors import Parser  # noqa: E402
from tests.benchmarks.packing import repeat  # noqa: E402
from tests.fixtures.data import write_telling_data  # noqa: E402
from tests.fixtures.models import tiny_training_config  # noqa: E402

FEW, MORE = 4, 24  # steps of a training; the difference is free of what it takes to begin


def prepared(folder: Path, times: int) -> Config:
    """A configuration over a small data set whose images are repeated."""
    count = 24 * times
    root, size_folder = folder / "data", folder / f"x{times}"
    size_folder.mkdir()
    if not root.exists():
        root.mkdir()
        write_telling_data(root)
    repeat(root / "manifest.jsonl", count, size_folder / "manifest.jsonl")
    config = tiny_training_config(root, size_folder / "run")
    data = replace(config.data, manifest=str(size_folder / "manifest.jsonl"), pack=str(size_folder / "pack"))
    log = replace(config.log, checkpoint_every=0)
    return replace(config, data=data, log=log)


def spent(*words: str) -> tuple[float, float]:
    """Processor seconds and the most MB that a Python process with these words held; it must end well."""
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(errors.decode())
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def measure(folder: Path, times: int) -> None:
    """Print what each part takes of a data set so often repeated."""
    config, size_folder = prepared(folder, times), folder / f"x{times}"
    save_config(config, size_folder / "config.yaml")
    settings = ["--config", str(size_folder / "config.yaml")]
    captions = 2 * 24 * times
    seconds, held = spent("-m", "data_prep.pack", *settings, "--splits", "train", "val", "--processes", "1")
    print(f"x{times}: packing {1000 * seconds / captions:.1f} ms a caption, {held:.0f} MB", flush=True)
    for verb, key in (("train-encoder", "matching"), ("train-gan", "gan")):
        costs = []
        for steps in (FEW, MORE):
            run = size_folder / f"{verb}-{steps}"
            words = ["-m", "s2i", verb, *settings, f"run={run}", f"{key}.steps={steps}"]
            words += [f"gan.encoder={size_folder / f'train-encoder-{MORE}'}", "gan.sample_every=0"]
            words += [f"matching.validate_every={MORE}"]
            costs.append(spent(*words))
        step = (costs[1][0] - costs[0][0]) / (MORE - FEW)
        print(f"x{times}: {verb} {1000 * step:.0f} ms a step, {costs[1][1]:.0f} MB", flush=True)


def follow(folder: Path, steps: int) -> None:
    """Print what a training holds at every tenth of its steps."""
    from s2i.training.gan import train_gan
    from s2i.training.loop import Training

    size_folder = folder / "x1"
    words = [
        f"gan.steps={steps}",
        "gan.sample_every=0",
        f"gan.encoder={size_folder / f'train-encoder-{MORE}'}",
    ]
    config = load_config(size_folder / "config.yaml", [*words, f"run={size_folder / 'long'}"])
    record = Training.record

    def recorded(training: Training, terms: dict) -> None:
        record(training, terms)
        if training.step % (steps // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            print(f"step {training.step}: {pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.1f} MB", flush=True)

    Training.record = recorded
    train_gan(config)


def main() -> None:
    """Read the command line."""
    parser: argparse.ArgumentParser = Parser(description="Measure parts on data of several sizes.")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100], metavar="N")
    parser.add_argument(
        "--steps", type=int, default=1000, metavar="N", help="followed (default: 1000; 0: none)"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for times in given.times:
            measure(folder, times)
        if given.steps and 1 in given.times:
            follow(folder, given.steps)


if __name__ == "__main__":
    main()
