"""A generator in the form for inference: the same images, by fewer operations."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from s2i.config_networks import GeneratorConfig
from s2i.models import inference_form
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import StackedGenerator
from s2i.models.inference_form import DoubledConvolution, for_inference
from tests.benchmarks.suite import plain

S2IGAN = GeneratorConfig(dense=True)  # at its published size
SMALL = replace(S2IGAN, base_size=16, noise_dim=5, condition_dim=12, channels=16, min_channels=4)
WIDTH = 10


def generator_of(**choices) -> StackedGenerator:
    torch.manual_seed(0)
    generator = StackedGenerator(replace(SMALL, **choices), WIDTH).eval()
    generator.initialise()
    for part in generator.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):  # as no batch has them
            part.running_mean.normal_(std=0.3)
            part.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(part.weight, 1.0, 0.3)
            nn.init.normal_(part.bias, std=0.3)
    return generator


def inputs(generator: StackedGenerator, count: int = 2) -> tuple:
    torch.manual_seed(1)
    mask = torch.arange(6) < torch.tensor([[6], [4]])[:count]
    encoding = CaptionEncoding(torch.randn(count, WIDTH), torch.randn(count, WIDTH, 6), mask)
    return encoding, *generator.sample_noise([str(key) for key in range(count)], 0)


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"attention": True, "tile": False, "dense": False},  # AttnGAN's
        {"attention": True, "conditional_batch_norm": True},
        {"upsample": "bilinear", "activation": "relu", "image_skips": True},
        {"prior": "flow", "prior_dim": 8, "prior_layers": 1, "guidance": 2.0, "truncation": 0.5},
    ],
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_the_same_images(choices, memory_format):
    generator = generator_of(**choices).to(memory_format=memory_format)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    quick = for_inference(generator)
    expected, output = (each(*inputs(generator)) for each in (generator, quick))
    for name in ("images", "attention"):
        for one, other in zip(getattr(expected, name), getattr(output, name), strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=2e-5)
    assert expected.images[-1].std() > 0.05  # not grey alone
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


@pytest.mark.parametrize("few", [0, 10**6])  # a convolution; a product
@torch.no_grad()
def test_a_border_is_seen_as_before(monkeypatch, few):
    monkeypatch.setattr(inference_form, "FEW", few)
    convolution = nn.Conv2d(3, 4, 3, 1, 1)
    quick = DoubledConvolution(convolution.weight, convolution.bias, Nothing(), nn.Identity())
    hidden = torch.randn(2, 3, 3, 5)
    expected = convolution(nn.functional.interpolate(hidden, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(quick(hidden, torch.zeros(2, 1)), expected, rtol=0, atol=1e-6)


class Nothing(nn.Module):
    def forward(self, hidden, condition):
        return hidden


@torch.no_grad()
def test_about_half_of_the_operations_of_s2igan_at_its_published_size():
    counts = []
    with torch.device("meta"):
        generator = StackedGenerator(S2IGAN, 1024).eval()
        encoding = CaptionEncoding(torch.randn(1, 1024), torch.randn(1, 1024, 4), torch.ones(1, 4).bool())
        for each, form in ((generator, plain.layers()), (for_inference(generator), nullcontext())):
            with form, FlopCounterMode(display=False) as counter:
                each(encoding, torch.randn(1, 100), torch.randn(1, 128))
            counts.append(counter.get_total_flops())
    assert counts[0] == pytest.approx(18.2e9, rel=0.01) and counts[1] < 0.55 * counts[0]


def test_one_of_another_package_stays_as_it_is():
    other = nn.Linear(2, 3)
    assert for_inference(other) is other
