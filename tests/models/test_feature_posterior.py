"""The posterior on pretrained features: what it sees of an image, and that its latent can't fall silent."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from s2i.models.feature_posterior import GRID, FeaturePosterior
from tests.fixtures.networks import tiny_feature_network

SIZE = 64
SENTENCES, MIXTURES = torch.zeros(6, 16), torch.ones(6, 3)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def posterior(**settings) -> FeaturePosterior:
    return FeaturePosterior(5, tiny_feature_network(SIZE), **settings)


def images() -> Tensor:
    return torch.rand(6, 3, SIZE, SIZE) * 2 - 1


def test_the_mean_varies_by_one_over_a_batch_and_the_spread_is_as_given():
    mu, logvar = posterior(spread=0.2)(images(), SENTENCES, MIXTURES)
    assert mu.shape == logvar.shape == (6, 5)
    assert torch.allclose(mu.std(0, unbiased=False), torch.ones(5), atol=3e-2)  # the epsilon of the norm
    assert torch.allclose(mu.mean(0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(logvar, torch.full((6, 5), 2 * log(0.2)))


def test_it_sees_colours_and_where_they_are():
    network, seen = posterior().eval(), images()
    maps = network._network[0](seen)
    network._network = [lambda images: maps]  # the features stay: what changes is seen in the colours alone
    of_seen = network(seen, SENTENCES, MIXTURES)[0]
    assert not torch.allclose(of_seen, network(seen[:, [2, 0, 1]], SENTENCES, MIXTURES)[0])
    assert not torch.allclose(of_seen, network(seen.roll(SIZE // GRID + 1, 3), SENTENCES, MIXTURES)[0])


def test_the_frozen_network_is_no_part_of_it():
    network = posterior()
    assert not any("network" in name for name in network.state_dict())
    mu, _ = network(images(), SENTENCES, MIXTURES)
    (mu.square() * torch.arange(5)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in network._network[0].parameters())
