"""The posterior on pretrained features: what it sees of an image, and that its noise can't fall silent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from s2i.models.feature_posterior import GRID, FeaturePosterior, surrounding_colours
from tests.fixtures.networks import tiny_feature_network

SIZE = 64
SENTENCES, MIXTURES = torch.zeros(6, 16), torch.ones(6, 3)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def posterior(**settings) -> FeaturePosterior:
    return FeaturePosterior(16, 5, tiny_feature_network(SIZE), **settings)


def images() -> Tensor:
    return torch.rand(6, 3, SIZE, SIZE) * 2 - 1


def test_the_mean_varies_by_the_given_deviation_over_a_batch():
    network = posterior(deviation=0.6)
    mu, logvar = network(images(), torch.randn(6, 16), MIXTURES)
    assert mu.shape == logvar.shape == (6, 5)
    assert torch.allclose(
        mu.std(0, unbiased=False), torch.full((5,), 0.6), atol=2e-2
    )  # the epsilon of the norm
    assert torch.allclose(mu.mean(0), torch.zeros(5), atol=1e-5)
    assert torch.equal(logvar, torch.full((6, 5), -1.0))


def test_swapped_colours_change_nothing_of_a_grey_image_but_its_surroundings():
    seen = images()
    swapped = seen[:, [2, 0, 1]]
    grey = posterior(sees="grey").eval()
    assert torch.allclose(
        grey(seen, SENTENCES, MIXTURES)[0], grey(swapped, SENTENCES, MIXTURES)[0], atol=1e-5
    )
    ground = posterior(sees="grey", surroundings=True).eval()
    assert not torch.allclose(ground(seen, SENTENCES, MIXTURES)[0], ground(swapped, SENTENCES, MIXTURES)[0])
    colours = posterior(sees="colours").eval()
    assert not torch.allclose(colours(seen, SENTENCES, MIXTURES)[0], colours(swapped, SENTENCES, MIXTURES)[0])


def test_a_mixture_shows_other_channels_of_the_same_image():
    network, seen = posterior().eval(), images()
    other = torch.tensor([[1.0, -1.0, 0.0]]).expand(6, 3)
    assert not torch.allclose(network(seen, SENTENCES, MIXTURES)[0], network(seen, SENTENCES, other)[0])


def test_surroundings_are_the_outer_cells_alone():
    seen = torch.zeros(1, 3, 6 * GRID, 6 * GRID)
    seen[:, 0, 6:-6, 6:-6] = 1  # the middle
    assert surrounding_colours(seen).shape == (1, 60)
    assert not surrounding_colours(seen).any()
    seen[:, 1, :6] = 0.5  # the upper edge, in green
    colours = surrounding_colours(seen).view(3, 20)
    assert torch.equal(colours[1], torch.tensor([1.0] * 6 + [0.0] * 14))
    assert not colours[[0, 2]].any()


def test_the_frozen_network_is_no_part_of_it():
    network = posterior()
    assert not any("network" in name for name in network.state_dict())
    mu, logvar = network(images(), torch.randn(6, 16), MIXTURES)
    (mu.square().sum() + logvar.sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in network._network[0].parameters())
