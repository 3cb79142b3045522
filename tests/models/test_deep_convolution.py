"""Convolutions of few places as products of matrices: the numbers of `F.conv2d`, and where they are taken."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from s2i.models import deep_convolution
from s2i.models.deep_convolution import DeepConvolution, convolve


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(deep_convolution, "LEAST_WEIGHTS", 0)


def refuse(*arguments, **options):
    raise AssertionError("expected no convolution of the library")


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 2, 1), (3, 1, 1), (4, 1, 0), (1, 1, 0)])
@pytest.mark.parametrize("biased", [True, False])
def test_outputs_and_gradients_are_those_of_a_convolution(always, kernel, stride, padding, biased, form):
    torch.manual_seed(0)
    hidden = torch.randn(2, 5, 6, 8, dtype=torch.float64).to(memory_format=form).requires_grad_()
    weight = torch.randn(7, 5, kernel, kernel, dtype=torch.float64).to(memory_format=form).requires_grad_()
    bias = torch.randn(7, dtype=torch.float64).requires_grad_() if biased else None
    leaves = [each for each in (hidden, weight, bias) if each is not None]
    expected = F.conv2d(hidden, weight, bias, stride, padding)
    outputs = convolve(hidden, weight, bias, stride, padding)
    torch.testing.assert_close(outputs, expected)
    assert kernel == 1 or outputs.is_contiguous(memory_format=form)  # a 1x1 weight lies alike in both
    above = torch.randn_like(expected)
    gradients = torch.autograd.grad(outputs, leaves, above, create_graph=True)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, leaves, above))
    # A penalty of gradients (R1) goes through it twice.
    again = torch.autograd.grad(gradients[0].square().sum(), weight)
    once = torch.autograd.grad(
        F.conv2d(hidden, weight, bias, stride, padding), hidden, above, create_graph=True
    )
    torch.testing.assert_close(again, torch.autograd.grad(once[0].square().sum(), weight))


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_as_large_as_its_map_is_one_product(monkeypatch, form):
    torch.manual_seed(0)
    hidden = torch.randn(3, 5, 4, 6, dtype=torch.float64).to(memory_format=form).requires_grad_()
    layer = DeepConvolution(5, 2, (4, 6), dtype=torch.float64).to(memory_format=form)
    expected = F.conv2d(hidden, layer.weight, layer.bias)
    leaves, above = [hidden, *layer.parameters()], torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, leaves, above, create_graph=True)
    again = torch.autograd.grad(gradients[0].square().sum(), layer.weight)
    monkeypatch.setattr(F, "conv2d", refuse)
    outputs = layer(hidden)
    torch.testing.assert_close(outputs, expected)
    ours = torch.autograd.grad(outputs, leaves, above, create_graph=True)
    torch.testing.assert_close(ours, gradients)
    assert ours[0].is_contiguous(memory_format=form)
    torch.testing.assert_close(torch.autograd.grad(ours[0].square().sum(), layer.weight), again)


def test_a_part_of_a_weight_is_taken_in_either_format(always):
    torch.manual_seed(0)
    hidden = torch.randn(2, 4, 5, 5)
    for form in (torch.contiguous_format, torch.channels_last):
        part = torch.randn(6, 9, 3, 3).to(memory_format=form)[:, :4]
        torch.testing.assert_close(convolve(hidden, part, padding=1), F.conv2d(hidden, part, padding=1))


def test_only_few_places_and_many_weights_are_one_product(monkeypatch):
    deep, shallow = DeepConvolution(256, 256, 4, 2, 1), DeepConvolution(64, 64, 4, 2, 1)
    few, many = (2, 8), (3, 16)  # images and side: 2 * 4 * 4 and 3 * 8 * 8 places
    monkeypatch.setattr(F, "conv2d", refuse)
    assert deep(torch.randn(few[0], 256, few[1], few[1])).shape == (2, 256, 4, 4)
    for layer, (images, side) in ((deep, many), (shallow, few)):
        with pytest.raises(AssertionError):
            layer(torch.randn(images, layer.in_channels, side, side))


def test_a_layer_has_the_weights_of_a_convolution_and_takes_spectral_norm(always):
    torch.manual_seed(0)
    ours, plain = spectral_norm(DeepConvolution(3, 4, 4, 2, 1)), spectral_norm(nn.Conv2d(3, 4, 4, 2, 1))
    plain.load_state_dict(ours.state_dict())
    hidden = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ours.eval()(hidden), plain.eval()(hidden))
