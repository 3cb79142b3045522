"""Terms of single systems, by hand."""

from __future__ import annotations

from math import exp, log1p

import pytest
import torch
from torch import Tensor, nn

from s2i import losses
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput
from s2i.training.generator_terms import (
    caption_class_loss,
    feature_matching_loss,
    interpolation_loss,
    pixel_loss,
)


class CopyingGenerator(nn.Module):
    """An image of 1 px that shows a caption's first three numbers, plus its noise."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def sample_batch_noise(self, count: int, device: torch.device) -> tuple[Tensor]:
        return (torch.full((count, 1), 0.25),)

    def forward(self, encoding: CaptionEncoding, noise: Tensor, stages: int | None) -> GeneratorOutput:
        return GeneratorOutput([(self.gain * encoding.sentence[:, :3] + noise)[..., None, None]], [])


class SumDiscriminator(nn.Module):
    """The image's sum plus twice the condition's."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def conditional_logits(self, features: Tensor, condition: Tensor) -> Tensor:
        return features.sum(1) + 2 * condition.sum(1)


def test_the_interpolation_loss_by_hand():
    sentence = torch.tensor([[0.5, 0.0, 0.25], [1.0, -1.0, 0.0], [-0.5, 0.5, 2.0]])
    encoding = CaptionEncoding(sentence, sentence[..., None], torch.ones(3, 1, dtype=torch.bool))
    generator = CopyingGenerator()
    loss = interpolation_loss(generator, [SumDiscriminator()], encoding, 1, "bce", False, list)
    between = [  # each caption and the one before it, the last before the first
        [(0.5 - 0.5) / 2, (0.0 + 0.5) / 2, (0.25 + 2.0) / 2],
        [(1.0 + 0.5) / 2, (-1.0 + 0.0) / 2, (0.0 + 0.25) / 2],
        [(-0.5 + 1.0) / 2, (0.5 - 1.0) / 2, (2.0 + 0.0) / 2],
    ]
    logits = [sum(one) + 3 * 0.25 + 2 * sum(one) for one in between]
    assert loss.item() == pytest.approx(sum(log1p(exp(-logit)) for logit in logits) / 3, rel=1e-6)
    loss.backward()
    assert generator.gain.grad.abs() > 0


class GuidedGenerator(CopyingGenerator):
    """Its latents say whether they were guided."""

    def prior(self, noise: Tensor, sentence: Tensor, steps: int, guided: bool) -> Tensor:
        return torch.full_like(noise, float(guided))

    def decode(self, encoding: CaptionEncoding, latent: Tensor, stages: int | None) -> GeneratorOutput:
        return self(encoding, latent, stages)


@pytest.mark.parametrize("guided", [True, False])
def test_images_of_interpolated_captions_are_guided_where_it_is_asked_for(guided):
    encoding = CaptionEncoding(torch.zeros(2, 3), torch.zeros(2, 3, 1), torch.ones(2, 1, dtype=torch.bool))
    loss = interpolation_loss(GuidedGenerator(), [SumDiscriminator()], encoding, 1, "bce", guided, list)
    assert loss.item() == pytest.approx(log1p(exp(-3.0 * guided)), rel=1e-6)


def test_feature_matching_compares_the_batchs_means():
    generated = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[..., None, None].requires_grad_()
    real = torch.tensor([[0.0, 0.0], [2.0, 10.0]])[..., None, None]
    loss = feature_matching_loss([SumDiscriminator()], [generated], [real])
    assert loss.item() == pytest.approx(((2 - 1) ** 2 + (3 - 5) ** 2) / 2)
    loss.backward()
    assert generated.grad.flatten().tolist() == pytest.approx([0.5, -1.0, 0.5, -1.0])


def test_pixels_and_the_captions_class_by_hand():
    first, second = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    second[0, 0] = -1.0
    assert pixel_loss(first, second).item() == pytest.approx((1.0 + 0.5 + 0.5) / 3)
    loss = caption_class_loss(nn.Identity(), torch.tensor([[0.0, 2.0], [1.0, 1.0]]), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((log1p(exp(2)) + log1p(1)) / 2)


def test_least_squares_want_the_configured_target_of_real_images_alone():
    logits = torch.tensor([1.0, 0.5])
    assert losses.adversarial_loss(logits, True, "least_squares", 0.9).item() == pytest.approx(
        (0.1**2 + 0.4**2) / 2
    )
    assert losses.adversarial_loss(logits, False, "least_squares", 0.9).item() == pytest.approx(1.25 / 2)
    assert losses.generator_loss(logits, "least_squares").item() == pytest.approx(0.25 / 2)
