"""Vector code: what is written as vectors is what the processor does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from s2i.data.vector_code import VectorCode

LANES = (4, 8, 16)


def call(code: VectorCode, arrays: list[Tensor], *wholes: int) -> None:
    code.compile()(*(array.data_ptr() for array in arrays), *wholes)


@pytest.mark.parametrize("lanes", LANES)
def test_rows_are_squared_up_to_the_count_and_not_beyond(lanes):
    code = VectorCode(lanes, arrays=2, wholes=1)
    source, target = (array.rows() for array in code.arrays)
    with code.loop(code.wholes[0]) as row:
        target[row] = source[row] * source[row]
    numbers, squares = torch.arange(5.0 * lanes), torch.full((5 * lanes,), -1.0)
    call(code, [numbers, squares], 3)
    assert torch.equal(squares[: 3 * lanes], numbers[: 3 * lanes].square())
    assert (squares[3 * lanes :] == -1).all()


@pytest.mark.parametrize("lanes", LANES)
def test_vectors_are_transposed(lanes):
    code = VectorCode(lanes, arrays=2, wholes=0)
    source, target = (array.rows() for array in code.arrays)
    for row, vector in enumerate(code.transposed([source[row] for row in range(lanes)])):
        target[row] = vector
    numbers, transposed = torch.rand(lanes, lanes), torch.zeros(lanes, lanes)
    call(code, [numbers, transposed])
    assert torch.equal(transposed, numbers.t())


@pytest.mark.parametrize("terms", [1, 7])
def test_a_loop_hands_its_sums_on(terms):
    code = VectorCode(8, arrays=3, wholes=1)
    weights, source, target = code.arrays
    sums = [code.zero(), source.rows()[0]]
    with code.loop(code.wholes[0], sums) as term:
        row = source.rows(stride=2)[term]
        sums[:] = [sums[0].plus_product(row, weights.at(term).everywhere()), sums[1] + row]
    target.rows()[0], target.rows()[1] = sums
    factors, rows, result = torch.rand(terms), torch.rand(2 * terms, 8), torch.zeros(2, 8)
    call(code, [factors, rows, result], terms)
    expected = torch.stack([factors @ rows[::2], rows[0] + rows[::2].sum(0)])
    assert torch.allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (lambda first, second: first + second * 3 - 1, [9, 5, 11]),
        (lambda first, second: first.smaller(second), [2, -3, 3]),
        (lambda first, second: (first - second).size(), [2, 6, 0]),
    ],
    ids=["arithmetic", "smaller", "size"],
)
def test_whole_numbers_are_read_and_find_places(operation: Callable, expected: list[int]):
    code = VectorCode(8, arrays=2, wholes=0)
    numbers, target = code.arrays
    place = operation(numbers.at(0).whole(), numbers.at(1).whole())
    target.at(place + 10).put(numbers.at(2).everywhere())
    write = code.compile()
    for (first, second), place in zip(((4, 2), (-3, 3), (3, 3)), expected, strict=True):
        given, result = torch.tensor([first, second, 1.0]), torch.zeros(40)
        write(given.data_ptr(), result.data_ptr())
        assert result.nonzero().flatten().tolist() == list(range(10 + place, 18 + place))
