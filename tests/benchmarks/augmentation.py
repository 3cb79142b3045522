"""What augmentation of recordings costs, part by part, beside the rest of loading a batch.

python tests/benchmarks/augmentation.py PACK [--config FILE] [--batches N]

PACK is the folder of a split. Processor time of one thread, milliseconds a caption, the fastest batch of
each. With a configuration, its `data.augment` is timed too.
"""

from __future__ import annotations

import os

# Before numpy and torch start: one thread for every library.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import argparse  # noqa: E402
import time  # noqa: E402
from dataclasses import fields, replace  # noqa: E402

import torch  # noqa: E402

from s2i.config import AudioConfig, AugmentConfig  # noqa: E402
from s2i.config_files import load_config  # noqa: E402
from s2i.data.augment.augmentation import SpeechAugmentation  # noqa: E402
from s2i.data.dataset import CaptionedImages  # noqa: E402
from s2i.data.pack import Pack  # noqa: E402
from s2i.data.sampler import BucketSampler  # noqa: E402

BATCH = 64


def milliseconds(pack: Pack, parts: AugmentConfig | None, batches: int) -> float:
    """Of loading one caption with its image: of the fastest of so many batches."""
    augmentation = None if parts is None else SpeechAugmentation(parts, AudioConfig())
    dataset = CaptionedImages(pack, 0, pack.packed_size, "speech", augmentation=augmentation)
    keys = iter(BucketSampler(dataset, BATCH, seed=0))
    dataset[next(keys)]  # what is worked out once
    times = []
    for _ in range(batches):
        key = next(keys)
        begun = time.process_time()
        dataset[key]
        times.append(time.process_time() - begun)
    return 1e3 * min(times) / BATCH


def always(*names: str) -> AugmentConfig:
    """Each of these parts in every recording."""
    parts = AugmentConfig()
    return replace(parts, **{name: replace(getattr(parts, name), probability=1.0) for name in names})


def main() -> None:
    """Print a line for loading alone, one a part, and one for all."""
    parser = argparse.ArgumentParser(description="Time augmentation of recordings on one thread.")
    parser.add_argument("pack", metavar="PACK", help="folder of a split")
    parser.add_argument("--config", metavar="FILE", help="time its data.augment too")
    parser.add_argument("--batches", type=int, default=20, help="of which the fastest counts (default: 20)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pack = Pack(given.pack)
    alone = milliseconds(pack, None, given.batches)
    print(f"loading without augmentation: {alone:.3f} ms a caption")
    nothing = milliseconds(pack, AugmentConfig(), given.batches)
    print(f"normalising anew, no part: {nothing - alone:+.3f} ms")
    names = [item.name for item in fields(AugmentConfig)]
    for part in names:
        print(f"{part}: {milliseconds(pack, always(part), given.batches) - nothing:+.3f} ms")
    print(f"all parts, always: {milliseconds(pack, always(*names), given.batches) - alone:+.3f} ms")
    if given.config:
        parts = load_config(given.config).data.augment
        print(f"{given.config}: {milliseconds(pack, parts, given.batches) - alone:+.3f} ms")


if __name__ == "__main__":
    main()
