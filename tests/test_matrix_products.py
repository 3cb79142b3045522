"""Products of float32 matrices by another library: torch's numbers and gradients, and where it is taken."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from s2i import matrix_products
from s2i.matrix_products import has_faster_products, linear, product


@pytest.fixture
def taken(monkeypatch) -> list[tuple[torch.Size, torch.Size]]:
    """The shapes of what is multiplied by the other library, whatever processor this is."""
    shapes, multiply = [], torch.ops.mkldnn._linear_pointwise

    def note(inputs: Tensor, weight: Tensor, *rest) -> Tensor:
        assert all(each.is_contiguous() or each.t().is_contiguous() for each in (inputs, weight))
        shapes.append((inputs.shape, weight.shape))
        return multiply(inputs, weight, *rest)

    operations = SimpleNamespace(mkldnn=SimpleNamespace(_linear_pointwise=note))
    monkeypatch.setattr(torch, "ops", operations)
    monkeypatch.setattr(matrix_products, "has_faster_products", lambda: True)
    monkeypatch.setattr(matrix_products, "LEAST", 0)
    return shapes


def lying(rows: int, columns: int, transposed: bool) -> Tensor:
    values = torch.randn(columns, rows).t() if transposed else torch.randn(rows, columns)
    return values.requires_grad_()


@pytest.mark.parametrize("first_transposed", [False, True])
@pytest.mark.parametrize("second_transposed", [False, True])
def test_a_product_and_its_gradients_are_torchs(taken, first_transposed, second_transposed):
    torch.manual_seed(0)
    first, second = lying(5, 33, first_transposed), lying(33, 7, second_transposed)
    above = torch.randn(5, 7)
    outputs, expected = product(first, second), first @ second
    torch.testing.assert_close(outputs, expected)
    leaves = (first, second)
    gradients = torch.autograd.grad(outputs, leaves, above, create_graph=True)
    once = torch.autograd.grad(expected, leaves, above, create_graph=True)
    torch.testing.assert_close(gradients, once)
    assert [each.stride() for each in gradients] == [each.stride() for each in leaves]
    for one, other in zip(gradients, once, strict=True):  # a penalty of gradients goes through it twice
        again, twice = (
            torch.autograd.grad(each.square().sum(), leaves, retain_graph=True, allow_unused=True)
            for each in (one, other)
        )
        torch.testing.assert_close(
            [each for each in again if each is not None], [each for each in twice if each is not None]
        )
    assert taken[0] == ((5, 33), (7, 33)) and len(taken) > 3


def test_a_matrix_with_gaps_is_copied(taken):
    gaps = torch.randn(4, 3, 6)[:, 1]
    other = torch.randn(6, 5)
    torch.testing.assert_close(product(gaps, other), gaps @ other)
    torch.testing.assert_close(product(other.t(), gaps.t()), other.t() @ gaps.t())
    assert not gaps.is_contiguous() and len(taken) == 2


@pytest.mark.parametrize("bias", [None, torch.arange(7.0)])
def test_a_linear_layer_is_torchs(taken, bias):
    inputs, weight = torch.randn(4, 9), torch.randn(7, 9)
    torch.testing.assert_close(linear(inputs, weight, bias), F.linear(inputs, weight, bias))
    assert len(taken) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_products_of_a_few_matrices_are_torchs(taken, count):
    first, second = torch.randn(6, 9).expand(count, 6, 9), torch.randn(count, 9, 5, requires_grad=True)
    outputs = matrix_products.products(first, second)
    torch.testing.assert_close(outputs, first @ second)
    [gradient] = torch.autograd.grad(outputs.square().sum(), second)
    [expected] = torch.autograd.grad((first @ second).square().sum(), second)
    torch.testing.assert_close(gradient, expected)
    assert len(taken) == 2 * count


def test_other_numbers_and_small_products_are_left_to_torch(taken, monkeypatch):
    wide, narrow = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, 4).bfloat16()
    product(wide, wide), product(narrow, narrow), linear(wide, wide)
    product(*(torch.empty(4, 4, device="meta") for _ in range(2)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(torch.randn(4, 4), torch.randn(4, 4)).dtype == torch.bfloat16
    monkeypatch.setattr(matrix_products, "LEAST", 65)
    product(torch.randn(4, 4), torch.randn(4, 4))
    assert taken == []
    product(torch.randn(4, 4), torch.randn(4, 5))
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("processor", "vectors", "expected"),
    [
        ("AMD EPYC 9555 (AVX512, avx512_bf16)", "AVX512", True),
        ("AMD EPYC 7763 (AVX2, nothing for bf16)", "AVX2", False),
        ("INTEL(R) XEON(R) PLATINUM 8581C (AVX512, amx_bf16)", "AVX512", False),
    ],
)
def test_it_is_taken_on_processors_for_which_torchs_library_has_no_wide_vectors(
    monkeypatch, processor, vectors, expected
):
    has_faster_products.cache_clear()
    monkeypatch.setattr(matrix_products, "describe", lambda device: processor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)
    assert has_faster_products() is expected
    has_faster_products.cache_clear()
