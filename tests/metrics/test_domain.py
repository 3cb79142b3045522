"""What is out of domain: distances against a hand-computed form, the threshold on groups left out."""

from __future__ import annotations

import pytest
import torch

from s2i.metrics import domain as domain_module
from s2i.metrics.domain import Domain, fit_domain


def normal(count: int, width: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_a_distance_is_mahalanobis_in_units_of_the_threshold(monkeypatch):
    monkeypatch.setattr(domain_module, "SHRINKAGE", 0.0)
    monkeypatch.setattr(domain_module, "LEAST_VARIANCE", 0.0)
    values = normal(500) @ torch.tensor([[3.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0.1, 0.05], [0, 0, 0, 2]]) + 5
    domain = fit_domain(values, [""] * 500)
    some = values[:7].double()
    centred = some - values.double().mean(0)
    squared = (centred @ torch.linalg.inv(torch.cov(values.double().T)) * centred).sum(1)
    expected = squared.sqrt() / domain.threshold
    torch.testing.assert_close(domain.distance(values[:7]).double(), expected, rtol=1e-3, atol=1e-4)


def test_about_one_in_a_hundred_of_the_same_kind_is_out_and_all_of_another_kind_are():
    speakers = [f"speaker {number % 16}" for number in range(4000)]
    domain = fit_domain(normal(4000), speakers)
    assert 0.003 < float((domain.distance(normal(4000, seed=1)) > 1).float().mean()) < 0.02
    assert (domain.distance(normal(200, seed=2) + 6) > 1).all()


def test_the_threshold_allows_for_speakers_that_were_not_heard():
    centres = torch.randn(8, 4, generator=torch.Generator().manual_seed(3)) * 3  # where each speaker lies
    numbers = torch.arange(1600) // 200
    values = normal(1600) * 0.3 + centres[numbers]
    apart = fit_domain(values, [f"speaker {number}" for number in numbers.tolist()])
    alike = fit_domain(values, [""] * 1600)
    assert apart.threshold > 1.2 * alike.threshold


def test_too_few_embeddings_have_no_domain_and_its_tensors_are_the_whole_of_it():
    assert fit_domain(normal(7), [""] * 7) is None
    domain = fit_domain(normal(100), ["a", "b"] * 50)
    again = Domain.from_tensors(domain.tensors())
    assert torch.equal(again.distance(normal(5)), domain.distance(normal(5)))
    assert domain.distance(normal(5).half()).dtype == torch.float32


def test_a_direction_that_no_embedding_uses_is_out_of_domain():
    values = normal(400)
    values[:, 2] = 1.0
    domain = fit_domain(values, [""] * 400)
    odd = values[:3].clone()
    odd[:, 2] = 2.0
    assert (domain.distance(odd) > 5).all() and domain.distance(values).max() == pytest.approx(1, abs=0.7)


def test_neighbours_tell_what_lies_within_the_gaussian_but_beside_the_sample():
    def sheet(seed: int) -> torch.Tensor:  # bent: thin, in a Gaussian that is not
        values = normal(1000, 3, seed)
        values[:, 2] = 0.3 * (values[:, 0] ** 2 - 1)
        return values

    domain = fit_domain(sheet(0), [f"speaker {number % 16}" for number in range(1000)])
    beside = torch.tensor([[0.2, 0.1, 1.0], [-0.1, 0.2, 0.9]])
    assert (domain.distance(beside) < 1).all() and domain.is_outside(beside).all()
    assert 0.0005 < float(domain.is_outside(sheet(1)).float().mean()) < 0.02
    alone = Domain(domain.mean, domain.whitening, domain.threshold)
    assert not alone.is_outside(beside).any() and alone.is_outside(100 * beside).all()
    far = 100 * sheet(0)[:3]  # in directions that the sample has
    assert (domain.neighbours.distance(far) < 1).all() and domain.is_outside(far).all()
