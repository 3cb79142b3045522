"""EfficientNet-lite0 in each precision: looking at images, and the gradient for them.

python tests/benchmarks/efficientnet_lite0.py [--size PX] [--batch N] [--rounds N] [--threads N]

Milliseconds of the processor an image, the quickest of the rounds, in which the ways take turns. The network
sees images that need a gradient in float32 on a CPU, whatever the autocast; the benchmark lifts that for
bfloat16.
"""

from __future__ import annotations

import s2i  # noqa: F401  (ahead of torch: it says how threads wait)

# isort: split
import argparse
import time
from contextlib import nullcontext
from unittest.mock import patch

import torch

from s2i.models.efficientnet_lite0 import EfficientNetLite0
from s2i.runs.pretrained_weights import efficientnet_lite0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = efficientnet_lite0()
    images = 2 * torch.rand(arguments.batch, 3, arguments.size, arguments.size) - 1
    quickest: dict[str, float] = {}
    with patch.object(EfficientNetLite0, "_precision", staticmethod(lambda images: nullcontext())):
        for _ in range(arguments.rounds):
            for precision in ("float32", "bfloat16"):
                for gradient in (False, True):
                    name = f"{precision}, {'forward and gradient for the images' if gradient else 'forward'}"
                    seconds = look(network, images, precision == "bfloat16", gradient)
                    quickest[name] = min(quickest.get(name, seconds), seconds)
    for name, seconds in quickest.items():
        print(f"{name:48} {1000 * seconds / arguments.batch:7.2f} ms an image of {arguments.size} px")


def look(network: EfficientNetLite0, images: torch.Tensor, bfloat16: bool, gradient: bool) -> float:
    """Seconds of the processor that one batch takes."""
    images = images.detach().requires_grad_(gradient)
    start = time.process_time()
    with torch.set_grad_enabled(gradient), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        maps = network.features(images)
    if gradient:
        sum(feature_map.float().mean() for feature_map in maps).backward()
    return time.process_time() - start


if __name__ == "__main__":
    main()
