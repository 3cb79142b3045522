"""The device that networks run on."""

from __future__ import annotations

import torch

from s2i.errors import InputError


def resolve_device(name: str) -> torch.device:
    """The device for "cpu", "cuda" or "auto" (cuda if there is a GPU). Raises InputError without a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("expected a GPU for device cuda, found none: use device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
