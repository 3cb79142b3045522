"""The device that networks run on."""

from __future__ import annotations

import torch

from s2i.errors import InputError


def resolve_device(name: str) -> torch.device:
    """The device for "cpu", "cuda", "cuda:1" or "auto" (cuda if there is a GPU). Raises InputError without a
    GPU."""
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"expected a GPU for device {name}, found none: use device cpu or auto")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
