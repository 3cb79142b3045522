"""A metric of many images against the bare speed of the network that looks at them.

python tests/benchmarks/features.py [--images N] [--size PX] [--threads N] [--no-distances]

The images are noise in a memory-mapped file as a pack's are; the network is a classifier as large as the
built-in recipe's with random weights. Printed: images a second of the network alone, on batches that are in
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

from s2i.config import ClassifierConfig, EvaluationConfig
from s2i.data.crops import image_batches
from s2i.evaluation.classifier import Classifier, classifier_extractor
from s2i.evaluation.extractors import FEATURES
from s2i.evaluation.feature_extraction import IMAGES_A_BATCH, real_features
from s2i.metrics import distances
from s2i.models.classifier import ClassifierNetwork

HEADS = {f"attribute {number}": ["red", "green", "blue", "white", "black", "grey"] for number in range(9)}
CLASSIFIER = ClassifierConfig(channels=(24, 48, 96, 192), feature_dim=256)
BARE = 8  # batches that the network alone is timed on


@contextmanager
def timed(label: str, images: int) -> Iterator[None]:
    begun, spent = time.perf_counter(), time.process_time()
    yield
    seconds, processor = time.perf_counter() - begun, time.process_time() - spent
    print(
        f"{label}: {seconds:.2f} s, {images / seconds:,.0f} images a second;"
        f" of the processor {processor:.2f} s, {images / processor:,.0f} a second",
        flush=True,
    )


def noise_pack(folder: Path, count: int, size: int) -> SimpleNamespace:
    """What `image_batches` reads of a pack."""
    side = size * 76 // 64
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, side, side, 3))
    random = np.random.default_rng(0)
    for start in range(0, count, 1024):
        block = images[start : start + 1024]
        block[:] = random.integers(256, size=block.shape, dtype=np.uint8)
    return SimpleNamespace(
        folder=folder,
        fingerprint="noise",
        images=np.load(folder / "images.npy", mmap_mode="r"),
        records=range(count),
        packed_size=size,
        side=side,
    )


def captions_in(folder: Path, size: int) -> SimpleNamespace:
    """What `real_features` reads of a caption set."""
    config = SimpleNamespace(generated_size=size)
    path = SimpleNamespace(config=config, device=torch.device("cpu"), folder=folder)
    return SimpleNamespace(path=path, settings=EvaluationConfig(cache=str(folder / "cache")))


def main() -> None:
    """Print a line a step."""
    parser = argparse.ArgumentParser(description="Time features and metrics of many images.")
    parser.add_argument("--images", type=int, default=30000, metavar="N", help="(default: 30000)")
    parser.add_argument("--size", type=int, default=64, metavar="PX", help="of an image (default: 64)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default: 2)")
    parser.add_argument("--no-distances", action="store_true", help="features alone")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    extractor = classifier_extractor(Classifier(ClassifierNetwork(CLASSIFIER, HEADS, given.size), HEADS, []))
    with tempfile.TemporaryDirectory() as name:
        pack = noise_pack(Path(name), given.images, given.size)
        captions = captions_in(Path(name), given.size)
        batches = [batch for batch, _ in zip(image_batches(pack, given.size), range(BARE), strict=False)]
        extractor.extract(batches[0])
        with timed("the network alone", sum(map(len, batches))):
            for batch in batches:
                extractor.extract(batch)
        with timed(f"a whole pass in batches of {IMAGES_A_BATCH}", given.images):
            outputs = real_features(captions, extractor, pack)
        with timed("found again", given.images):
            real_features(captions, extractor, pack)
        if given.no_distances:
            return
        features = np.array(outputs[FEATURES])
        generated, real = features, features[: max(4, given.images // 10)]
        metrics: dict[str, Callable[[], object]] = {
            "fid": lambda: distances.frechet_distance(generated, real),
            "kid": lambda: distances.kernel_distance(generated, real),
            "precision and recall": lambda: distances.precision_and_recall(generated, real),
        }
        for label, metric in metrics.items():
            with timed(f"{label} of {len(generated)} and {len(real)}", given.images):
                metric()


if __name__ == "__main__":
    main()
