"""Noise of captions, so that an image depends neither on its batch nor on the process; of training steps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def caption_noise(keys: Sequence[str], seed: int, widths: Sequence[int]) -> list[Tensor]:
    """Standard normal numbers for each caption: a function of (seed, its key) and nothing else.

    They are sampled on the CPU, so they are the same whatever the device, and the global random state
    stays as it is. Speech and text with the same keys and the same seed get the same noise.

    Args:
        keys: one name a caption.
        seed: of all captions together.
        widths: numbers in each tensor.

    Returns:
        One (len(keys), width) float32 tensor for each of `widths`.
    """
    rows = [_normal(key, seed, sum(widths)) for key in keys]
    return list(torch.stack(rows).split(list(widths), 1))


def batch_noise(count: int, widths: Sequence[int], device: torch.device) -> tuple[Tensor, ...]:
    """Standard normal numbers from the global random state, for a training step: one (count, width) tensor on
    the device for each of `widths`."""
    return tuple(torch.randn(count, width, device=device) for width in widths)


def uniform_numbers(key: str, seed: int, count: int, width: int) -> Tensor:
    """Uniform numbers in [0, 1), (count, width), on the CPU: a function of (seed, key) and nothing else."""
    return torch.rand(count, width, generator=_generator(key, seed))


def _normal(key: str, seed: int, width: int) -> Tensor:
    return torch.randn(width, generator=_generator(key, seed))


def _generator(key: str, seed: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    # The CPU generator keeps 32 bits of its seed.
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))
