"""Convolutions of a map and a tiled condition, without the tiled map."""

import pytest
import torch
import torch.nn.functional as F

from s2i.models.tiled_convolution import convolve_tiled


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 4)])
@pytest.mark.parametrize("biased", [True, False])
def test_it_is_the_convolution_of_the_tiled_map(form, size, biased):
    torch.manual_seed(0)
    hidden = torch.randn(2, 3, *size, dtype=torch.float64).to(memory_format=form).requires_grad_()
    condition = torch.randn(2, 4, dtype=torch.float64).requires_grad_()
    weight = torch.randn(5, 7, 3, 3, dtype=torch.float64).to(memory_format=form).requires_grad_()
    bias = torch.randn(5, dtype=torch.float64).requires_grad_() if biased else None
    leaves = [each for each in (hidden, condition, weight, bias) if each is not None]
    tiled = condition[..., None, None].expand(-1, -1, *size)
    expected = F.conv2d(torch.cat((hidden, tiled), 1), weight, bias, padding=1)
    outputs = convolve_tiled(hidden, condition, weight, bias)
    torch.testing.assert_close(outputs, expected)
    above = torch.randn_like(expected)
    gradients = torch.autograd.grad(outputs, leaves, above, create_graph=True)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, leaves, above))
    # A penalty of gradients goes through it twice.
    once = torch.autograd.grad(
        F.conv2d(torch.cat((hidden, tiled), 1), weight, bias, padding=1), condition, above, create_graph=True
    )
    again = [torch.autograd.grad(each[0].square().sum(), weight) for each in (gradients[1:2], once)]
    torch.testing.assert_close(*again)


def test_a_condition_of_more_precision_is_rounded_to_the_maps():
    hidden, weight = torch.randn(2, 3, 4, 4).bfloat16(), torch.randn(5, 7, 3, 3).bfloat16()
    assert convolve_tiled(hidden, torch.randn(2, 4), weight).dtype == torch.bfloat16
