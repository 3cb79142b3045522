"""A metric of many pictures against the bare speed of the network that looks at them.

python tests/benchmarks/features.py [--pictures N] [--size PX] [--threads N] [--no-distances]

The pictures are noise in a memory-mapped file as a pack's are; the network is a judge as large as the
built-in recipe's with random weights. Printed: pictures a second of the network alone, on batches that are in
memory already; of a whole pass as `s2i evaluate` makes it (cut, to float, looked at, written to disk); what
finding them again takes; and the metrics from these features. Processor time is beside the clock's: on a
machine that does other work too, it is the one to compare.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from s2i.config import EvaluationConfig, JudgeConfig
from s2i.data.dataset import picture_batches
from s2i.evaluation.extractors import FEATURES, judge_extractor
from s2i.evaluation.feature_extraction import PICTURES_A_BATCH, look_at_real
from s2i.metrics import distances
from s2i.training.classifier import Judge, JudgeNetwork

HEADS = {f"attribute {number}": ["red", "green", "blue", "white", "black", "grey"] for number in range(9)}
JUDGE = JudgeConfig(channels=(24, 48, 96, 192), features=256)
BARE = 8  # batches that the network alone is timed on


@contextmanager
def timed(label: str, pictures: int) -> Iterator[None]:
    begun, spent = time.perf_counter(), time.process_time()
    yield
    seconds, processor = time.perf_counter() - begun, time.process_time() - spent
    print(
        f"{label}: {seconds:.2f} s, {pictures / seconds:,.0f} pictures a second;"
        f" of the processor {processor:.2f} s, {pictures / processor:,.0f} a second",
        flush=True,
    )


def noise_pack(folder: Path, pictures: int, size: int) -> SimpleNamespace:
    """What `picture_batches` reads of a pack."""
    side = size * 76 // 64
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (pictures, side, side, 3))
    random = np.random.default_rng(0)
    for start in range(0, pictures, 1024):
        part = images[start : start + 1024]
        part[:] = random.integers(256, size=part.shape, dtype=np.uint8)
    return SimpleNamespace(
        folder=folder,
        fingerprint="noise",
        images=np.load(folder / "images.npy", mmap_mode="r"),
        pictures=range(pictures),
        image_size=size,
        side=side,
    )


def subject_in(folder: Path, size: int) -> SimpleNamespace:
    """What looking asks of a subject."""
    config = SimpleNamespace(image_size=size)
    path = SimpleNamespace(config=config, device=torch.device("cpu"), folder=folder)
    return SimpleNamespace(path=path, evaluation=EvaluationConfig(cache=str(folder / "cache")))


def main() -> None:
    """Print a line a step."""
    parser = argparse.ArgumentParser(description="Time features and metrics of many pictures.")
    parser.add_argument("--pictures", type=int, default=30000, metavar="N", help="(default: 30000)")
    parser.add_argument("--size", type=int, default=64, metavar="PX", help="of a picture (default: 64)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default: 2)")
    parser.add_argument("--no-distances", action="store_true", help="features alone")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    extractor = judge_extractor(Judge(JudgeNetwork(JUDGE, HEADS, given.size), HEADS, []))
    with tempfile.TemporaryDirectory() as name:
        pack = noise_pack(Path(name), given.pictures, given.size)
        subject = subject_in(Path(name), given.size)
        batches = [batch for batch, _ in zip(picture_batches(pack, given.size), range(BARE), strict=False)]
        extractor.look(batches[0])
        with timed("the network alone", sum(map(len, batches))):
            for batch in batches:
                extractor.look(batch)
        with timed(f"a whole pass in batches of {PICTURES_A_BATCH}", given.pictures):
            found = look_at_real(subject, extractor, pack)
        with timed("found again", given.pictures):
            look_at_real(subject, extractor, pack)
        if given.no_distances:
            return
        features = np.array(found[FEATURES])
        drawn, real = features, features[: max(4, given.pictures // 10)]
        metrics: dict[str, Callable[[], object]] = {
            "fid": lambda: distances.frechet_distance(drawn, real),
            "kid": lambda: distances.kernel_distance(drawn, real),
            "precision and recall": lambda: distances.precision_and_recall(drawn, real),
        }
        for label, metric in metrics.items():
            with timed(f"{label} of {len(drawn)} and {len(real)}", given.pictures):
                metric()


if __name__ == "__main__":
    main()
