"""A generator in bfloat16: the images of float32, but for rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from s2i.models.bfloat16_form import Bfloat16Form
from s2i.models.inference_form import for_inference
from tests.models.test_inference_form import generator_of, inputs


@pytest.mark.parametrize("choices", [{}, {"attention": True, "tile": False, "dense": False}])
@pytest.mark.parametrize("form", [for_inference, lambda generator: generator])
@torch.no_grad()
def test_images_differ_by_rounding_alone(choices, form):
    generator = generator_of(**choices)
    expected, output = generator(*inputs(generator)), Bfloat16Form(form(generator))(*inputs(generator))
    assert expected.images[-1].std() > 0.05
    for name in ("images", "attention"):
        for one, other in zip(getattr(expected, name), getattr(output, name), strict=True):
            assert other.dtype == torch.float32
            assert 0 < (one - other).abs().max() < 0.05 and (one - other).abs().mean() < 0.005


@torch.no_grad()
def test_it_rounds_a_copy_of_the_weights_once_and_leaves_the_prior_alone():
    generator = generator_of(prior="flow", prior_dim=8, prior_layers=1, guidance=2.0, truncation=0.5)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    rounded = Bfloat16Form(for_inference(generator)).generator
    assert {value.dtype for value in rounded.prior.parameters()} == {torch.float32}
    convolutions = [part for part in rounded.modules() if isinstance(part, nn.Conv2d)]
    assert convolutions and all(part.weight.dtype == torch.bfloat16 for part in convolutions)
    assert generator.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    expected = generator(*inputs(generator)).images[-1]
    difference = Bfloat16Form(generator)(*inputs(generator)).images[-1] - expected
    assert 0 < difference.abs().max() < 0.05


@torch.no_grad()
def test_one_of_another_package_computes_in_bfloat16_too():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.computed_in = nn.Linear(10, 3 * 4 * 4), None

        def forward(self, encoding, noise):
            code = self.linear(encoding.sentence)
            self.computed_in = code.dtype
            return type(
                "Output",
                (),
                {"images": [code.view(-1, 3, 4, 4)], "attention": [], "mu": None, "logvar": None},
            )

    encoding, noise, _ = inputs(generator_of())
    form = Bfloat16Form(Other().eval())
    assert form(encoding, noise).images[0].dtype == torch.float32
    assert form.generator.computed_in == torch.bfloat16
