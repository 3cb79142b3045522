"""The learnt prior: that it becomes the distribution of the latents it is shown, given their captions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from s2i.config_networks import GeneratorConfig
from s2i.models.flow_prior import FlowPrior

WIDTH, EMBEDDING = 4, 6
CAPTIONS = torch.eye(EMBEDDING)[:2]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def make_prior(**settings) -> FlowPrior:
    sizes = {"noise_dim": WIDTH, "prior": "flow", "prior_dim": 48, "prior_layers": 2, "prior_steps": 8}
    prior = FlowPrior(GeneratorConfig(**(sizes | settings)), EMBEDDING)
    prior.initialise()
    return prior


def latents_of(caption: Tensor) -> Tensor:
    """Of the first caption around 2; of the second on either side of 0, at 1 and -1; deviation .1."""
    noise = torch.randn(len(caption), WIDTH)
    sides = torch.randint(0, 2, (len(caption), 1)) * 2.0 - 1
    return torch.where(caption[:, None] == 0, 2 + 0.1 * noise, sides + 0.1 * noise)


@pytest.fixture(scope="module")
def trained() -> FlowPrior:
    torch.manual_seed(0)
    prior = make_prior()
    optimiser = torch.optim.Adam(prior.parameters(), 3e-3)
    for _ in range(600):
        caption = torch.randint(0, 2, (64,))
        loss = prior.loss(latents_of(caption), CAPTIONS[caption])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return prior.eval()


def test_before_training_it_is_a_normal_prior():
    noise = torch.randn(5, WIDTH)
    assert torch.equal(make_prior()(noise, torch.randn(5, EMBEDDING)), noise)


def test_it_learns_where_a_captions_latents_are(trained):
    sampled = trained(torch.randn(500, WIDTH), CAPTIONS[0].expand(500, -1))
    assert torch.allclose(sampled.mean(0), torch.full((WIDTH,), 2.0), atol=0.1)
    assert sampled.std(0).max() < 0.3


def test_it_learns_two_sides_and_nothing_between(trained):
    sampled = trained(torch.randn(500, WIDTH), CAPTIONS[1].expand(500, -1)).mean(1)
    assert 0.35 < (sampled > 0).float().mean() < 0.65
    assert (sampled.abs() > 0.6).float().mean() > 0.9


def test_guidance_goes_further_from_what_is_sampled_without_a_caption(trained):
    noise, caption = torch.randn(500, WIDTH), CAPTIONS[0].expand(500, -1)
    guided = make_prior(guidance=2.0).eval()
    guided.load_state_dict(trained.state_dict())
    assert guided(noise, caption).mean() > trained(noise, caption).mean()


def test_a_guided_velocity_is_as_long_as_the_captions_own(trained):
    latent, caption = torch.randn(50, WIDTH), trained._caption(CAPTIONS[0].expand(50, -1))
    guided, usual = (trained._guided(latent, 0.3, caption, guidance) for guidance in (4.0, 1.0))
    assert torch.allclose(guided.norm(dim=1), usual.norm(dim=1), rtol=1e-4)
    assert not torch.allclose(guided, usual, rtol=1e-2)


def test_truncation_is_a_factor_of_the_noise(trained):
    noise, caption = torch.randn(50, WIDTH), CAPTIONS[1].expand(50, -1)
    truncated = make_prior(truncation=0.5).eval()
    truncated.load_state_dict(trained.state_dict())
    assert torch.equal(truncated(noise, caption), trained(0.5 * noise, caption))


def test_unguided_latents_are_neither_guided_nor_truncated(trained):
    noise, caption = torch.randn(50, WIDTH), CAPTIONS[0].expand(50, -1)
    other = make_prior(guidance=2.0, truncation=0.5).eval()
    other.load_state_dict(trained.state_dict())
    assert torch.equal(other(noise, caption, guided=False), trained(noise, caption))
    assert not torch.equal(other(noise, caption), trained(noise, caption))


def test_a_flow_that_does_not_move_is_not_moved_by_guidance():
    noise = torch.randn(5, WIDTH)
    assert torch.equal(make_prior(guidance=3.0)(noise, torch.randn(5, EMBEDDING)), noise)


def test_a_latent_depends_on_its_own_noise_and_caption_alone(trained):
    noise, caption = torch.randn(6, WIDTH), CAPTIONS[torch.tensor([0, 1, 1, 0, 1, 0])]
    assert torch.allclose(trained(noise, caption)[2:3], trained(noise[2:3], caption[2:3]), atol=1e-5)


def test_the_length_of_a_sentence_says_nothing(trained):
    noise, caption = torch.randn(3, WIDTH), CAPTIONS[[0, 1, 0]]
    assert torch.allclose(trained(noise, caption), trained(noise, 7 * caption), atol=1e-5)


def test_no_gradient_passes_through_its_integration(trained):
    noise = torch.randn(3, WIDTH, requires_grad=True)
    assert not trained(noise, CAPTIONS[[0, 1, 0]]).requires_grad
