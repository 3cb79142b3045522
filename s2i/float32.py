"""Products in float32 inside a computation in bfloat16."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor


def in_float32(values: Tensor) -> torch.autocast | nullcontext:
    """Whatever the surrounding autocast of the device of `values`: cosines, distributions and sums of weights
    need more than bfloat16's 8 bits. Tensors without data, of the meta device, know none."""
    return nullcontext() if values.is_meta else torch.autocast(values.device.type, enabled=False)
