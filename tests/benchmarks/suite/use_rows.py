"""What a trained model is used for: generation, search, evaluation."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch

from s2i.config_files import load_config
from s2i.inference.model import load
from s2i.metrics.distances import kernel_distance
from s2i.models.bfloat16_form import Bfloat16Form
from s2i.models.build import build_generator
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.inference_form import for_inference
from s2i.search.nearest import VectorTable, write_table
from tests.benchmarks.search import of_classes, unit
from tests.benchmarks.suite import plain
from tests.benchmarks.suite.data_rows import falling_noise
from tests.benchmarks.suite.timing import OURS, PLAIN, Choice, Row, bytes_of, counted
from tests.benchmarks.suite.training_rows import RECIPES, precisions_here

ROOT = RECIPES.parent
MODEL = ROOT / "checkpoints" / "painted_birds"
MANY = 16  # images at once
FEATURES = (1500, 256)  # of images that a metric compares


def rows(choice: Choice) -> Iterator[Row]:
    if choice.has("generation", "painted birds"):
        yield from _cold()
    yield from _warm(choice)
    if choice.has("search"):
        yield from _search(20_000 if choice.quick else 100_000)
    if choice.has("evaluation"):
        yield _distance()


def _distance() -> Row:
    random = np.random.default_rng(0)
    first, second = (random.normal(size=FEATURES).astype(np.float32) for _ in range(2))
    forms = {
        OURS: partial(kernel_distance, first, second),
        PLAIN: partial(plain.kernel_distance, first, second),
    }
    work = 2 * 3 * FEATURES[0] ** 2 * FEATURES[1]
    return Row("evaluation", f"KID of {FEATURES[0]} and {FEATURES[0]} images", "", "fp32", forms, work)


def children_seconds() -> float:
    """Of the processor, of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cold() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        recording, output = Path(folder) / "x.wav", Path(folder) / "x.png"
        soundfile.write(recording, falling_noise(3).numpy(), 22050)
        words = ["generate", "--model", str(MODEL), "--speech", str(recording), "--output", str(output)]
        forms = {
            OURS: partial(_start, ["-m", "s2i", *words]),
            PLAIN: partial(_start, ["-c", "import torch"]),
        }
        name = "s2i generate, cold, beside a bare import of torch"
        yield Row("generation", name, "painted birds", "fp32", forms, clock=children_seconds)


def _start(words: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=ROOT, env=environment)


def _warm(choice: Choice) -> Iterator[Row]:
    path = load(MODEL, "cpu", only="speech").path("speech")
    published = load_config(RECIPES / "cub" / "conf" / "s2igan.yaml")
    torch.manual_seed(0)
    generators = {
        "painted birds": (path.generator, path.embedding_dim),
        "paper": (build_generator(published).eval().requires_grad_(False), published.embedding_dim),
    }
    for size, (generator, width) in generators.items():
        if not choice.has("generation", size):
            continue
        quicker = for_inference(generator)
        side = max(generator.sizes)
        for count in (1,) if choice.quick and size == "paper" else (1, MANY):
            mask = torch.ones(count, 8, dtype=torch.bool)
            encoding = CaptionEncoding(torch.randn(count, width), torch.randn(count, width, 8), mask)
            noise = generator.sample_noise([str(number) for number in range(count)], 0)
            name = f"{count} image{'s' * (count > 1)} of {side} px"
            eager = partial(_generate_plainly, generator, encoding, noise)
            for precision in precisions_here(choice):
                form = Bfloat16Form(quicker) if precision == "bf16" else quicker
                ours = partial(_generate, form, encoding, noise)
                moved = bytes_of(form, ours())
                yield Row(
                    "generation", name, size, precision, {OURS: ours, PLAIN: eager}, counted(ours), moved
                )


@torch.no_grad()
def _generate(generator: torch.nn.Module, encoding: CaptionEncoding, noise: tuple) -> torch.Tensor:
    return generator(encoding, *noise).images[-1]


def _generate_plainly(generator: torch.nn.Module, encoding: CaptionEncoding, noise: tuple) -> torch.Tensor:
    with plain.layers():
        return _generate(generator, encoding, noise)


def _search(count: int) -> Iterator[Row]:
    random = np.random.default_rng(0)
    vectors = unit(of_classes(count + 1, 256, random))
    query, vectors = vectors[-1], vectors[:-1]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "vectors.npy", vectors)
        write_table(Path(folder))
        table = VectorTable(Path(folder))
        forms = {OURS: partial(table.nearest, query, 10), PLAIN: partial(plain.nearest, vectors, query, 10)}
        name = f"the nearest 10 of {count} images"
        yield Row("search", name, "", "fp32", forms, 2.0 * vectors.size)
