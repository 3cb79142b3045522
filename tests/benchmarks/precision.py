"""Seconds a training step in each precision on this machine, and what `precision: auto` makes of it.

python tests/benchmarks/precision.py [--config FILE] [--steps N] [--rounds N] [--threads N] [key=value ...]

Trains the speech encoder, the text encoder, the classifier (classifier) and the GAN, all of its stages, of a
preset as it is, for a few steps each on noise: images of its size, captions of 2 to 4 s and as many words as
people use. Of the rounds, in which the precisions take turns, the quickest counts. A pretrained image encoder
is left out: it sees each image once, before the training. Seconds of the processor, all threads together,
tell something on a busy machine too.
"""

from __future__ import annotations

import s2i  # noqa: F401  (ahead of torch: it says how threads wait)

# isort: split
import argparse
import contextlib
import io
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch
from PIL import Image

from s2i.config import Config
from s2i.config_data import DataConfig
from s2i.config_files import load_config
from s2i.data.manifest import Caption, ImageRecord, write_manifest
from s2i.data.pack_builder import build_pack
from s2i.devices import describe, resolve_device
from s2i.errors import InputError, Parser, exit_on_input_error
from s2i.training.classifier import train_classifier
from s2i.training.distributed import PAIR, set_threads
from s2i.training.encoder import train_encoder
from s2i.training.gan import train_gan
from s2i.training.loop import Training
from s2i.training.precision import choose

PRESET = Path(__file__).parents[2] / "recipes" / "painted_birds" / "conf" / "default.yaml"
PRECISIONS = ("fp32", "bf16")
WORDS = "a small bird with red wings and a long blue tail that has a white belly".split()
CLASSES, TRAIN, VAL = 8, 128, 16


def write_noise(folder: Path, size: int) -> None:
    """A data set of noise: images of `size` px, two captions each."""
    random = np.random.default_rng(0)
    images = []
    for number in range(TRAIN + VAL):
        pixels = random.integers(256, size=(size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        captions = []
        for index in range(2):
            name = f"{number}-{index}.wav"
            samples = 0.1 * random.standard_normal(int(22050 * random.uniform(2, 4)))
            soundfile.write(folder / name, samples, 22050)
            captions.append(Caption(" ".join(WORDS[: random.integers(8, 16)]), name, "voice", "en"))
        split, class_id = ("train" if number < TRAIN else "val"), number % CLASSES
        fields = (str(number), f"{number}.png", None, class_id, f"class {class_id}", split)
        images.append(ImageRecord(*fields, tuple(captions)))
    write_manifest(folder / "manifest.jsonl", images)


def prepared(config: Config, folder: Path, steps: int) -> Config:
    """A preset's choices over noise, for a few steps, each of them in the log."""
    write_noise(folder, config.packed_size)
    pack = folder / "pack"
    config = replace(
        config,
        data=DataConfig(root=str(folder), manifest=str(folder / "manifest.jsonl"), pack=str(pack)),
        matching=replace(config.matching, steps=steps, validate_every=steps),
        gan=replace(config.gan, steps=steps, grow=(), sample_every=0),
        classifier=replace(config.classifier, pack=str(pack), steps=steps),
        log=replace(config.log, every=1, checkpoint_every=10**6, keep=0),
    )
    with contextlib.redirect_stderr(io.StringIO()):
        build_pack(config, ("train", "val"))
    return config


def seconds_a_step(train: Callable[[Config], Path], config: Config) -> tuple[float, float]:
    """Mean over all steps but the first, which also makes what the others use: by the clock, and of the
    processor, all threads together. Infinite where it doesn't run."""
    ends: list[tuple[float, float]] = []
    record = Training.record

    def recorded(training: Training, terms: dict[str, Any]) -> None:
        record(training, terms)
        ends.append((time.perf_counter(), time.process_time()))

    try:
        with mock.patch.object(Training, "record", recorded), contextlib.redirect_stderr(io.StringIO()):
            train(config)
    except InputError:
        return math.inf, math.inf
    return tuple((last - first) / (len(ends) - 1) for first, last in zip(ends[0], ends[-1], strict=True))


def benchmark(config: Config, steps: int, rounds: int) -> None:
    """Print a line a part."""
    if config.image_encoder.kind != "small":
        print(f"without {config.image_encoder.kind}, in whose place is a small image encoder")
        size = 2 ** max(4, int(math.log2(config.generated_size)))
        small = replace(Config().image_encoder, input_size=size)
        config = replace(config, image_encoder=small, data=replace(config.data, packed_size=0))
    device = resolve_device(config.device)
    threads = set_threads(config.threads, PAIR)
    config = replace(config, threads=threads)
    on = f", {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else ""
    print(f"{describe(device)}{on}, torch {torch.__version__}")
    choice = choose(replace(config, precision="auto"), "", device)
    print(f"precision: auto is {choice.precision} here: {choice.reason}")
    heads = "".join(f"{name:>9}" for name in PRECISIONS) + f"{'ratio':>8}"
    print(f"{'seconds a step':16}{'by the clock':>26}{'of the processor':>26}\n{'':16}{2 * heads}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = prepared(config, folder, steps)
        encoder = folder / "speech encoder fp32 0"  # the GAN's, in both precisions
        trainings: dict[str, tuple[Callable[[Config], Path], Config]] = {
            "speech encoder": (train_encoder, replace(config, modality="speech")),
            "text encoder": (train_encoder, replace(config, modality="text")),
            "classifier": (train_classifier, config),
            "GAN": (
                train_gan,
                replace(config, modality="speech", gan=replace(config.gan, encoder=str(encoder))),
            ),
        }
        for part, (train, of) in trainings.items():
            best = dict.fromkeys(PRECISIONS, (math.inf, math.inf))
            for number in range(rounds):
                for kind in PRECISIONS:
                    run = str(folder / f"{part} {kind} {number}")
                    seconds = seconds_a_step(train, replace(of, precision=kind, run=run))
                    best[kind] = tuple(map(min, best[kind], seconds))
            print(f"{part:16}" + "".join(map(_columns, *best.values())), flush=True)


def _columns(fp32: float, bf16: float) -> str:
    cells = (f"{value:.3f}" if value < math.inf else "fails" for value in (fp32, bf16))
    return "".join(f"{text:>9}" for text in cells) + f"{fp32 / bf16:8.2f}"


def main() -> None:
    """Read the command line."""
    parser: argparse.ArgumentParser = Parser(description="Time a preset's training steps in each precision.")
    parser.add_argument("--config", type=Path, default=PRESET, metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=17, metavar="N", help="a training (default: 17)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="the best counts (default: 2)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="default: one for two cores")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the preset")
    given = parser.parse_args()

    def run() -> None:
        config = load_config(given.config, [f"threads={given.threads}", *given.overrides])
        benchmark(config, max(2, given.steps), max(1, given.rounds))

    exit_on_input_error(run)


if __name__ == "__main__":
    main()
