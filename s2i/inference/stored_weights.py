"""How an exported model stores its tensors: whole, in 16 bits, or the generator's weights in 8."""

from __future__ import annotations

import torch
from torch import Tensor

_SCALE = ".scale_of_rows"  # ends the name of the tensor beside one in 8 bits
_LEVELS = 127


def pack(tensors: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Tensors as they are stored; integers stay as they are.

    Args:
        bits: 32: whole. 16: float16. 8: float16, but weights of the generator with two dimensions or more
            are integers from -127 to 127, times a float16 for each row (dimension 0). The encoders stay as
            with 16: what compares and recognises embeddings sees the same numbers.
    """
    packed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if bits == 8 and name.startswith("generator.") and value.is_floating_point() and value.dim() > 1:
            packed |= _in_rows(name, value.detach().float())
        else:
            shorter = value.to(torch.float16) if bits < 32 and value.is_floating_point() else value
            packed[name] = shorter.contiguous()
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `pack`, those of 8 bits as float32."""
    scales = {name: value for name, value in packed.items() if name.endswith(_SCALE)}
    tensors = {name: value for name, value in packed.items() if name not in scales}
    for name, scale in scales.items():
        name = name.removesuffix(_SCALE)
        tensors[name] = tensors[name].float() * _per_row(scale.float(), tensors[name])
    return tensors


def _in_rows(name: str, value: Tensor) -> dict[str, Tensor]:
    largest = value.flatten(1).abs().amax(1)
    # Rounded before it divides; a row of zeros, or of numbers too small for a float16, stays zeros.
    scale = (largest / _LEVELS).to(torch.float16)
    levels = (value / _per_row(scale.float(), value)).nan_to_num(0, 0, 0).round()
    return {name: levels.clamp(-_LEVELS, _LEVELS).to(torch.int8), name + _SCALE: scale}


def _per_row(scale: Tensor, value: Tensor) -> Tensor:
    """(N,) as (N, 1, ...), to multiply `value` (N, ...)."""
    return scale.view(-1, *[1] * (value.dim() - 1))
