"""Maps and their gradients lie alike, and are those of the plain operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from s2i.config_networks import GeneratorConfig
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import StackedGenerator
from s2i.models.gradient_layout import gated_linear_unit, memory_format_of, with_aligned_gradient

FORMATS = (torch.channels_last, torch.contiguous_format)


def maps(*shape: int, memory_format: torch.memory_format, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random).contiguous(memory_format=memory_format).requires_grad_()


@pytest.mark.parametrize("memory_format", FORMATS)
def test_the_gated_linear_unit_is_torchs(memory_format):
    hidden = maps(2, 6, 5, 4, memory_format=memory_format)
    gradient = torch.randn(2, 3, 5, 4)
    expected = F.glu(hidden, 1)
    (expected_gradient,) = torch.autograd.grad(expected, hidden, gradient)
    outputs = gated_linear_unit(hidden)
    (of_hidden,) = torch.autograd.grad(outputs, hidden, gradient)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(of_hidden, expected_gradient)
    assert memory_format_of(of_hidden) == memory_format


def test_without_gradients_it_is_torchs_own():
    hidden = maps(2, 6, 5, 4, memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(gated_linear_unit(hidden.detach()), F.glu(hidden, 1))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("gradient_format", FORMATS)
def test_a_gradient_comes_to_lie_as_its_map_does(memory_format, gradient_format):
    hidden = maps(2, 6, 5, 4, memory_format=memory_format)
    gradient = maps(2, 6, 5, 4, memory_format=gradient_format, seed=1).detach()
    (aligned,) = torch.autograd.grad(with_aligned_gradient(hidden), hidden, gradient)
    assert torch.equal(aligned, gradient) and aligned.stride() == hidden.stride()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("form", ["S2IGAN", "AttnGAN"])
def test_all_norms_of_a_generator_get_maps_and_gradients_that_lie_alike(memory_format, form):
    of_form = {"S2IGAN": {"tile": True, "dense": True}, "AttnGAN": {"attention": True, "keep_channels": True}}
    defaults = {"attention": False, "tile": False, "add_context": False, "conditional_batch_norm": False}
    config = GeneratorConfig(
        base_size=16,
        stages=2,
        channels=8,
        min_channels=4,
        residual_blocks=1,
        activation="glu",
        image_skips=False,
        **defaults | of_form[form],
    )
    torch.manual_seed(0)
    generator = StackedGenerator(config, embedding=6).to(memory_format=memory_format)
    differing = []

    def compare(name: str, outputs: torch.Tensor) -> None:
        def of_gradient(gradient: torch.Tensor) -> None:
            if gradient.stride() != outputs.stride():
                differing.append(name)

        outputs.register_hook(of_gradient)

    norms = [(name, each) for name, each in generator.named_modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(norms) >= 5
    for name, norm in norms:
        norm.register_forward_hook(lambda _, inputs, outputs, name=name: compare(name, outputs))
    count = 5  # images: enough for the doubled convolution's own form at 16 px
    encoding = CaptionEncoding(torch.randn(count, 6), torch.randn(count, 6, 3), torch.ones(count, 3).bool())
    noise = generator.sample_batch_noise(count, torch.device("cpu"))
    images = generator(encoding, *noise).images
    sum((each * torch.randn_like(each)).sum() for each in images).backward()
    assert not differing
