"""Gated recurrent units read in both directions at once: torch's numbers and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from s2i import matrix_products
from s2i.models import gated_recurrence, recurrent
from s2i.models.gated_recurrence import read_both_ways
from s2i.models.recurrent import Bidirectional

Directions = tuple[nn.GRU, nn.GRU]


def make(inputs: int, hidden: int) -> Directions:
    torch.manual_seed(0)
    return tuple(nn.GRU(inputs, hidden, batch_first=True) for _ in range(2))


def torchs(directions: Directions, sequences: Tensor) -> Tensor:
    return torch.stack([direction(each)[0] for direction, each in zip(directions, sequences, strict=True)])


def gradients(states: Tensor, directions: Directions, sequences: Tensor) -> list[Tensor]:
    """Of the sequences and of all weights, for weights of the states that differ."""
    torch.manual_seed(1)
    wanted = [sequences, *(weight for direction in directions for weight in direction.parameters())]
    return list(torch.autograd.grad(states, wanted, torch.randn(states.shape, dtype=states.dtype)))


@pytest.mark.parametrize(("batch", "steps", "inputs", "hidden"), [(3, 7, 5, 4), (1, 1, 2, 3), (2, 12, 1, 1)])
def test_states_and_gradients_are_torchs(batch, steps, inputs, hidden):
    directions = tuple(direction.double() for direction in make(inputs, hidden))
    sequences = torch.randn(2, batch, steps, inputs, dtype=torch.float64, requires_grad=True)
    expected, states = (read(directions, sequences) for read in (torchs, read_both_ways))
    torch.testing.assert_close(states, expected)
    for ours, theirs in zip(
        *(gradients(each, directions, sequences) for each in (states, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_products_by_another_library_are_the_same(monkeypatch):
    monkeypatch.setattr(matrix_products, "has_faster_products", lambda: True)
    monkeypatch.setattr(matrix_products, "LEAST", 1)
    directions, sequences = make(6, 5), torch.randn(2, 3, 4, 6, requires_grad=True)
    expected, states = (read(directions, sequences) for read in (torchs, read_both_ways))
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(
        *(gradients(each, directions, sequences) for each in (states, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_in_autocast_numbers_are_as_close_to_fp32_as_torchs():
    directions, sequences = make(16, 16), torch.randn(2, 8, 40, 16, requires_grad=True)
    exact = torchs(directions, sequences)
    exact_gradients = gradients(exact, directions, sequences)
    errors = []
    for read in (torchs, read_both_ways):
        with torch.autocast("cpu", torch.bfloat16):
            states = read(directions, sequences)
        assert states.dtype == torch.float32
        computed = gradients(states, directions, sequences)
        differences = [(states - exact).square().mean().sqrt()]
        differences += [
            (one - other).norm() / other.norm() for one, other in zip(computed, exact_gradients, strict=True)
        ]
        errors.append(differences)
    for theirs, ours in zip(*errors, strict=True):
        assert ours < 1.2 * theirs + 1e-3


class Kept(TorchDispatchMode):
    """Counts the numbers of all memory that is set aside without a value."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, operation, types, given=(), named=None):  # noqa: ANN001, ANN204
        made = operation(*given, **(named or {}))
        if operation is torch.ops.aten.new_empty.default:
            self.numbers += made.numel()
        return made


def test_without_a_gradient_the_states_are_the_same_and_the_gates_of_one_step_are_kept():
    directions, sequences = make(4, 5), torch.randn(2, 3, 50, 4)
    states, numbers = [], []
    for is_training in (True, False):
        with torch.set_grad_enabled(is_training), Kept() as kept:
            states.append(read_both_ways(directions, sequences))
        numbers.append(kept.numbers)
    assert torch.equal(*states) and states[0].requires_grad and not states[1].requires_grad
    one_step = 2 * 3 * (2 + 1 + 3) * 5  # of two directions and three sequences
    assert numbers == [50 * one_step, one_step]


@pytest.mark.parametrize(("kind", "calls"), [(nn.GRU, 2), (nn.LSTM, 0)])
def test_each_layer_of_grus_is_read_both_ways_at_once(kind, calls, monkeypatch):
    seen = []

    def counting(*given: object) -> Tensor:
        seen.append(given)
        return read_both_ways(*given)

    monkeypatch.setattr(recurrent, "read_both_ways", counting)
    network = Bidirectional(kind, 5, 4, layers=2, dropout=0.0)
    network(torch.randn(3, 6, 5), torch.tensor([6, 2, 4]))
    assert len(seen) == calls


def test_an_exporter_is_given_torchs(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert not gated_recurrence.is_faster(nn.GRU(1, 1), torch.zeros(1))
