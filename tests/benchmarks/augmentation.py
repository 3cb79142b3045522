"""What augmentation of recordings costs, part by part, beside the rest of loading a batch.

python tests/benchmarks/augmentation.py PACK [--config FILE] [--rounds N]

PACK is the folder of a split. Processor time of one thread, milliseconds a caption: each of a few batches
is loaded again and again, and its fastest time counts. With a configuration, its `data.augment` is timed too.
"""

from __future__ import annotations

import os

# Before numpy and torch start: one thread for every library.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import argparse  # noqa: E402
import time  # noqa: E402
from dataclasses import fields, replace  # noqa: E402
from itertools import islice  # noqa: E402

import torch  # noqa: E402

from s2i.config_data import AudioConfig, AugmentConfig  # noqa: E402
from s2i.config_files import load_config  # noqa: E402
from s2i.data.augment.augmentation import SpeechAugmentation  # noqa: E402
from s2i.data.dataset import CaptionedImages  # noqa: E402
from s2i.data.pack import Pack  # noqa: E402
from s2i.data.sampler import BucketSampler  # noqa: E402

BATCH, BATCHES = 64, 4


def load(pack: Pack, config: AugmentConfig | None, rounds: int) -> tuple[float, float]:
    """Milliseconds and frames of one caption that is loaded with its image."""
    augmentation = None if config is None else SpeechAugmentation(config, AudioConfig())
    dataset = CaptionedImages(pack, 0, pack.packed_size, "speech", augmentation=augmentation)
    seconds = frames = 0.0
    for key in islice(BucketSampler(dataset, BATCH, seed=0), BATCHES):
        times = []
        for _ in range(rounds):
            begun = time.process_time()
            batch = dataset[key]
            times.append(time.process_time() - begun)
        seconds += min(times)
        frames += float(batch.mel_lengths.sum())
    return 1e3 * seconds / (BATCH * BATCHES), frames / (BATCH * BATCHES)


def always(*names: str) -> AugmentConfig:
    """Each of these parts in every recording."""
    config = AugmentConfig()
    return replace(config, **{name: replace(getattr(config, name), probability=1.0) for name in names})


def main() -> None:
    """Print a line for loading alone, one a part, and one for all."""
    parser = argparse.ArgumentParser(description="Time augmentation of recordings on one thread.")
    parser.add_argument("pack", metavar="PACK", help="folder of a split")
    parser.add_argument("--config", metavar="FILE", help="time its data.augment too")
    parser.add_argument("--rounds", type=int, default=10, help="of which the fastest counts (default: 10)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pack, config = Pack(given.pack), AugmentConfig()
    names = [item.name for item in fields(config)]
    settings = {"normalised anew, no part": config} | {name: always(name) for name in names}
    settings["all parts, always"] = always(*names)
    if given.config:
        settings[given.config] = load_config(given.config).data.augment
    alone, frames = load(pack, None, given.rounds)
    print(f"without augmentation: {alone:.3f} ms, {frames:.0f} frames a caption")
    for label, chosen in settings.items():
        spent, frames = load(pack, chosen, given.rounds)
        print(f"{label}: {spent - alone:+.3f} ms, {frames:.0f} frames")


if __name__ == "__main__":
    main()
