"""Nearest neighbours: distances against a hand-computed form, the reach on groups left out."""

from __future__ import annotations

import torch

from s2i.metrics.neighbours import FOLDS, fit_neighbours, folds


def normal(count: int, width: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_the_fifth_neighbour_counts_and_a_vector_s_length_does_not():
    values, some = normal(60), normal(3, seed=4)
    neighbours = fit_neighbours(values, [f"speaker {number % 16}" for number in range(60)])
    unit = torch.nn.functional.normalize(torch.cat((some, values)), dim=1)
    expected = torch.cdist(unit[:3], unit[3:]).sort(dim=1).values[:, 4] / neighbours.reach
    torch.testing.assert_close(neighbours.distance(some), expected, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(neighbours.distance(9 * some), neighbours.distance(some))
    assert neighbours.distance(some.half()).dtype == torch.float32


def test_the_reach_allows_for_groups_that_are_not_among_the_neighbours():
    numbers = torch.arange(1600) // 200
    lies_at = torch.randn(8, 4, generator=torch.Generator().manual_seed(3)) * 3  # each speaker
    values = normal(1600) * 0.3 + lies_at[numbers]
    apart = fit_neighbours(values, [f"speaker {number}" for number in numbers.tolist()])
    assert apart.reach > 1.5 * fit_neighbours(values, [""] * 1600).reach


def test_fewer_vectors_than_neighbours_have_the_farthest_of_them():
    neighbours = fit_neighbours(torch.eye(4), [""] * 4)
    assert torch.allclose(neighbours.reach, torch.tensor(2.0).sqrt())  # each from the other three
    assert torch.allclose(neighbours.distance(torch.eye(4)), torch.ones(4))


def test_a_fingerprint_is_of_the_directions_in_either_precision():
    neighbours = fit_neighbours(normal(20), [""] * 20)
    again = type(neighbours)(neighbours.directions.float(), neighbours.reach)
    assert (
        again.fingerprint
        == neighbours.fingerprint
        != fit_neighbours(normal(20, seed=1), [""] * 20).fingerprint
    )


def test_every_eighth_group_is_left_out_together():
    fold = folds(["b", "a", "c", "a"] + [f"d{number}" for number in range(9)])
    assert fold[:4].tolist() == [1, 0, 2, 0] and fold.max() == FOLDS - 1
    assert folds(["one"] * 20).tolist() == [number % FOLDS for number in range(20)]
