"""Maps and their gradients lie alike, and are those of the plain operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from s2i.config_networks import DiscriminatorConfig, GeneratorConfig
from s2i.models.blocks import SegmentAttention
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.discriminator import Discriminator
from s2i.models.generator import StackedGenerator
from s2i.models.gradient_layout import flatten_map, gated_linear_unit, memory_format_of, with_aligned_gradient
from tests.benchmarks.suite import plain

FORMATS = (torch.channels_last, torch.contiguous_format)


def maps(*shape: int, memory_format: torch.memory_format, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random).contiguous(memory_format=memory_format).requires_grad_()


def generator_and_inputs(
    form: str, memory_format: torch.memory_format
) -> tuple[StackedGenerator, CaptionEncoding, list[torch.Tensor]]:
    """A generator of 16 and 32 px, with captions and noise of as many images as it takes for the doubled
    convolution's own form."""
    of_form = {"S2IGAN": {"tile": True, "dense": True}, "AttnGAN": {"attention": True, "keep_channels": True}}
    defaults = {"attention": False, "tile": False, "add_context": False, "conditional_batch_norm": False}
    widths = {"base_size": 16, "stages": 2, "channels": 8, "min_channels": 4, "residual_blocks": 1}
    config = GeneratorConfig(**widths, activation="glu", image_skips=False, **defaults | of_form[form])
    torch.manual_seed(0)
    generator = StackedGenerator(config, embedding=6).to(memory_format=memory_format)
    encoding = CaptionEncoding(torch.randn(5, 6), torch.randn(5, 6, 3), torch.ones(5, 3, dtype=torch.bool))
    return generator, encoding, list(generator.sample_batch_noise(5, torch.device("cpu")))


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


def test_in_bf16_it_errs_no_more_than_torchs():
    exact = maps(4, 32, 8, 8, memory_format=torch.channels_last)
    above = torch.randn(4, 16, 8, 8)
    (expected,) = torch.autograd.grad(F.glu(exact, 1), exact, above)
    errors = []
    for gate in (gated_linear_unit, lambda hidden: F.glu(hidden, 1)):
        hidden = exact.detach().bfloat16().requires_grad_()
        (gradient,) = torch.autograd.grad(gate(hidden), hidden, above.bfloat16())
        errors.append(float((gradient.float() - expected).norm() / expected.norm()))
    assert errors[0] < 1.5 * errors[1] < 0.01


def test_without_gradients_it_is_torchs_own():
    hidden = maps(2, 6, 5, 4, memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(gated_linear_unit(hidden.detach()), F.glu(hidden, 1))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_flattened_maps_gradient_lies_as_the_map_does(memory_format):
    hidden, above = maps(2, 6, 5, 4, memory_format=memory_format), torch.randn(2, 120)
    flat = flatten_map(hidden)
    assert torch.equal(flat, hidden.flatten(1))
    (gradient,) = torch.autograd.grad(flat, hidden, above)
    assert torch.equal(gradient, above.view(2, 6, 5, 4)) and gradient.stride() == hidden.stride()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("gradient_format", FORMATS)
def test_a_gradient_comes_to_lie_as_its_map_does(memory_format, gradient_format):
    hidden = maps(2, 6, 5, 4, memory_format=memory_format)
    gradient = maps(2, 6, 5, 4, memory_format=gradient_format, seed=1).detach()
    (aligned,) = torch.autograd.grad(with_aligned_gradient(hidden), hidden, gradient)
    assert torch.equal(aligned, gradient) and aligned.stride() == hidden.stride()


@pytest.mark.parametrize("memory_format", FORMATS)
def test_attention_is_that_of_the_equations_and_lies_as_its_map_does(memory_format):
    torch.manual_seed(0)
    attention = SegmentAttention(embedding=6, channels=5)
    hidden = maps(3, 5, 4, 2, memory_format=memory_format)
    sequence = torch.randn(3, 6, 7, requires_grad=True)
    mask = torch.arange(7) < torch.tensor([7, 1, 4])[:, None]
    ours, theirs = attention(hidden, sequence, mask), plain.attend(attention, hidden, sequence, mask)
    torch.testing.assert_close(ours, theirs)
    assert memory_format_of(ours[0]) == memory_format
    above = torch.randn(3, 5, 4, 2)
    gradients = [torch.autograd.grad(context, (hidden, sequence), above) for context, _ in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("form", ["S2IGAN", "AttnGAN"])
def test_all_norms_of_a_generator_get_maps_and_gradients_that_lie_alike(memory_format, form):
    generator, encoding, noise = generator_and_inputs(form, memory_format)
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
    images = generator(encoding, *noise).images
    sum((each * torch.randn_like(each)).sum() for each in images).backward()
    assert not differing


@pytest.mark.parametrize("form", ["S2IGAN", "AttnGAN"])
def test_a_generator_of_plain_layers_has_the_same_images_and_gradients(form):
    generator, encoding, noise = generator_and_inputs(form, torch.channels_last)
    generator, noise = generator.double(), [each.double() for each in noise]
    encoding = CaptionEncoding(encoding.sentence.double(), encoding.sequence.double(), encoding.mask)

    def images_and_gradients() -> list[torch.Tensor]:
        images = generator(encoding, *noise).images
        loss = sum(each.square().sum() for each in images)
        return [*images, *torch.autograd.grad(loss, list(generator.parameters()), allow_unused=True)]

    ours = images_and_gradients()
    with plain.layers():
        theirs = images_and_gradients()
    # Attention is computed in float32, whatever else is.
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_discriminator_of_plain_layers_has_the_same_logits_by_convolutions_alone(monkeypatch):
    config = DiscriminatorConfig(channels=4, max_channels=16)
    network = Discriminator(config, 16, 6, contrastive=True).to(memory_format=torch.channels_last)
    images, condition = torch.rand(3, 3, 16, 16) * 2 - 1, torch.randn(3, 6)

    def logits() -> list[torch.Tensor]:
        hidden = network(images)
        alone = network.unconditional_logits(hidden)
        return [network.conditional_logits(hidden, condition), alone, *network.embed(hidden, condition)]

    ours, kernels, convolve = logits(), [], F.conv2d

    def count(hidden, weight, *arguments, **options):
        kernels.append(tuple(weight.shape[2:]))
        return convolve(hidden, weight, *arguments, **options)

    monkeypatch.setattr(F, "conv2d", count)
    with plain.layers():
        theirs = logits()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert kernels == [(4, 4)] * 3 + [(3, 3), (4, 4)]  # two halvings, then the heads
