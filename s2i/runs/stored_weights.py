"""How an exported model stores its tensors: whole, in 16 bits, or the generator's matrices in 8."""

from __future__ import annotations

import torch
from torch import Tensor

_GENERATORS = ("generator.", "speech_generator.")  # begin the names of what is stored in 8 bits
_SCALE = ".scale_of_rows"  # ends the name of the tensor beside one in 8 bits
_LEVELS = 127


def pack(tensors: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Tensors as they are stored; integers stay as they are.

    Args:
        bits: 32: whole. 16: float16. 8: float16, but the matrices and kernels of the generator are integers
            from -127 to 127, times a number for each row (dimension 0). The encoders stay as with 16: what
            compares and recognises embeddings sees the same numbers.
    """
    packed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if bits == 8 and value.is_floating_point() and _is_in_rows(name, value):
            packed |= _in_rows(name, value.detach().float())
        else:
            shorter = value.to(torch.float16) if bits < 32 and value.is_floating_point() else value
            packed[name] = shorter.contiguous()
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `pack`, those of 8 bits as float32. Raises ValueError where they and their scales don't
    belong together."""
    tensors = dict(packed)
    for name, value in packed.items():
        if value.dtype != torch.int8 or not _is_in_rows(name, value):
            continue
        scale = tensors.pop(name + _SCALE, None)
        if scale is None or scale.shape != value.shape[:1]:
            shape = "none" if scale is None else f"{tuple(scale.shape)}"
            raise ValueError(f"{name} has {len(value)} rows, and numbers that scale them {shape}")
        tensors[name] = value.float() * _per_row(scale, value)
    return tensors


def _is_in_rows(name: str, value: Tensor) -> bool:
    return name.startswith(_GENERATORS) and value.dim() > 1 and value.numel() > 0


def _in_rows(name: str, value: Tensor) -> dict[str, Tensor]:
    scale = value.flatten(1).abs().amax(1) / _LEVELS
    levels = value / _per_row(torch.where(scale > 0, scale, 1), value)  # a row of zeros stays zeros
    return {name: levels.round().to(torch.int8).contiguous(), name + _SCALE: scale}


def _per_row(scale: Tensor, value: Tensor) -> Tensor:
    """(N,) as (N, 1, ...), to multiply `value` (N, ...)."""
    return scale.view(-1, *[1] * (value.dim() - 1))
