"""Products of matrices in float32 on processors for which torch's own library has no fast code.

torch multiplies matrices with MKL, which keeps AVX-512 to Intel's processors; its convolutions, by oneDNN,
use it on all. On those of AMD whose AVX-512 is wider than their AVX2 a product then takes twice as long as by
oneDNN (100 and 220 G operations a second of a core).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from s2i.devices import describe

LEAST = 1 << 24  # multiplications of a product; a smaller one gains nothing


def product(first: Tensor, second: Tensor) -> Tensor:
    """`first @ second` of (N, K) and (K, M): (N, M), by oneDNN where that is faster; with its gradients."""
    return _Product.apply(first, second) if _is_faster(first, second) else first @ second


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of (N, K), (M, K) and (M,): (N, M), likewise."""
    if not _is_faster(inputs, weight.t()):
        return F.linear(inputs, weight, bias)
    outputs = _Product.apply(inputs, weight.t())
    return outputs if bias is None else outputs + bias


def products(first: Tensor, second: Tensor) -> Tensor:
    """`first @ second` of a few (B, N, K) and (B, K, M): (B, N, M), likewise."""
    if not _is_faster(first[0], second[0]):
        return first @ second
    if len(first) == 1:  # without a copy
        return _Product.apply(first[0], second[0])[None]
    return torch.stack([_Product.apply(*pair) for pair in zip(first, second, strict=True)])


def _is_faster(first: Tensor, second: Tensor) -> bool:
    size = first.shape[0] * first.shape[1] * second.shape[1]
    kinds = {(each.dtype, each.device.type) for each in (first, second)}
    if size < LEAST or kinds != {(torch.float32, "cpu")} or torch.is_autocast_enabled("cpu"):
        return False
    return has_faster_products()


@cache
def has_faster_products() -> bool:
    """Whether oneDNN has code for this processor that MKL lacks."""
    vectors = torch.backends.cpu.get_cpu_capability() == "AVX512"
    is_built_in = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return vectors and is_built_in and "AMD" in describe(torch.device("cpu"))


def _dense(matrix: Tensor) -> Tensor:
    """The matrix itself where its rows, or its columns, lie one after the other; else a copy for which they
    do."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        # torch.compile's own operation for a linear layer; of matrices with gaps it is many times as slow.
        return torch.ops.mkldnn._linear_pointwise(_dense(first), _dense(second).t(), None, "none", [], "")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        first, second = ctx.saved_tensors
        of_first, of_second = ctx.needs_input_grad
        return (
            _lying_as(first, gradient, second.t()) if of_first else None,
            _lying_as(second, first.t(), gradient) if of_second else None,
        )


def _lying_as(matrix: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The product of two, by rows or by columns as `matrix` lies: else a large weight's gradient would be
    copied."""
    by_columns = matrix.t().is_contiguous()
    return product(second.t(), first.t()).t() if by_columns else product(first, second)
