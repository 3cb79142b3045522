"""How long a query of `s2i search` takes, one thread, on an index of many images.

python tests/benchmarks/search.py [--vectors N] [--model DIR --index DIR --speech WAV]

A query is the nearest-neighbour search on the opened index: `VectorTable.nearest`, ten results. Vectors are
made up: of 200 classes with as much noise as structure and, the worst case, of no structure at all. With
--index its own vectors are measured too, each repeated with noise until there are N: the case that matters.
With --model and --speech the time to encode a recording stands beside it.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before numpy and torch start
    os.environ[name] = "1"

import argparse  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from s2i.search.nearest import VectorTable, write_table  # noqa: E402

QUERIES = 200
TOP = 10
NOISE = 0.5  # length of what is added to a vector of an index, over the vector's


def unit(vectors: np.ndarray) -> np.ndarray:
    """Float32, each of length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def of_classes(count: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Class centres with as much again around them: cosines of about .5 inside a class."""
    centres = random.normal(size=(200, width)).astype(np.float32)
    return centres[random.integers(200, size=count)] + random.normal(size=(count, width)).astype(np.float32)


def of_nothing(count: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Every direction is as likely."""
    return random.normal(size=(count, width)).astype(np.float32)


def around(vectors: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """An index's own vectors, each several times, with noise."""
    chosen = vectors[random.integers(len(vectors), size=count)]
    noise = random.normal(size=chosen.shape).astype(np.float32) / chosen.shape[1] ** 0.5
    return chosen + NOISE * noise


def measure(label: str, vectors: np.ndarray) -> None:
    """Print the times of queries that are made as the vectors are; the last QUERIES of them."""
    vectors = unit(vectors)
    queries, vectors = vectors[-QUERIES:], vectors[:-QUERIES]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "vectors.npy", vectors)
        write_table(Path(folder))
        table, times, busy = VectorTable(Path(folder)), [], []
        for query in queries:
            begun, worked = time.perf_counter(), time.process_time()
            _, cosines = table.nearest(query, TOP)
            times.append(1e3 * (time.perf_counter() - begun))
            busy.append(1e3 * (time.process_time() - worked))
            if len(times) % 20 == 1:  # some are compared with comparing all
                np.testing.assert_allclose(cosines, np.sort(vectors @ query)[: -TOP - 1 : -1], atol=1e-5)
    first, rest = times[0], np.array(times[1:])
    print(
        f"{label}, {len(vectors)} vectors of {vectors.shape[1]}: median {np.median(rest):.2f} ms,"
        f" 95 % within {np.quantile(rest, 0.95):.2f} ms, first {first:.1f} ms;"
        f" of the processor's time median {np.median(busy):.2f} ms"
    )


def main() -> None:
    """Print a line a kind of vectors, and one for encoding."""
    parser = argparse.ArgumentParser(description="Time the nearest-neighbour search on one thread.")
    parser.add_argument("--vectors", type=int, default=100_000, metavar="N", help="(default: 100000)")
    parser.add_argument("--index", type=Path, metavar="DIR", help="of s2i index, to measure its vectors")
    parser.add_argument("--model", type=Path, metavar="DIR", help="whose encoder is timed on")
    parser.add_argument("--speech", type=Path, metavar="WAV", help="this recording")
    given = parser.parse_args()
    torch.set_num_threads(1)
    random, count = np.random.default_rng(0), given.vectors + QUERIES
    for width in (256, 1024):
        measure("200 classes", of_classes(count, width, random))
        measure("no structure", of_nothing(count, width, random))
    if given.index:
        for table in sorted(given.index.glob("*-images")):
            measure(f"{given.index.name}/{table.name}", around(np.load(table / "vectors.npy"), count, random))
    if given.model and given.speech:
        from s2i.inference.model import load

        model, times = load(given.model, "cpu"), []
        for _ in range(20):
            begun = time.perf_counter()
            model.embed(speech=given.speech)
            times.append(1e3 * (time.perf_counter() - begun))
        print(f"encoding {given.speech.name}: median {np.median(times[1:]):.1f} ms, first {times[0]:.0f} ms")


if __name__ == "__main__":
    main()
