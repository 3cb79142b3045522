"""Convolutions of doubled maps: the numbers and gradients of the plain form, and where they are taken."""

import pytest
import torch
import torch.nn.functional as F

from s2i.models import doubled_convolution
from s2i.models.doubled_convolution import convolve_doubled, doubled_taps


def plain(hidden, weight):
    return F.conv2d(F.interpolate(hidden, scale_factor=2, mode="nearest"), weight, padding=1)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_those_of_the_plain_form(form, monkeypatch):
    monkeypatch.setattr(doubled_convolution, "LEAST_PLACES", 0)
    torch.manual_seed(0)
    hidden = torch.randn(2, 5, 3, 4, dtype=torch.float64).to(memory_format=form).requires_grad_()
    weight = torch.randn(7, 5, 3, 3, dtype=torch.float64).to(memory_format=form).requires_grad_()
    outputs, expected = convolve_doubled(hidden, weight), plain(hidden, weight)
    torch.testing.assert_close(outputs, expected)
    above = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad(each, (hidden, weight), above) for each in (outputs, expected))
    torch.testing.assert_close(ours, theirs)


def test_only_many_places_are_convolved_so(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("expected no doubled map")

    weight = torch.randn(4, 3, 3, 3)
    monkeypatch.setattr(F, "interpolate", refuse)
    assert convolve_doubled(torch.randn(2, 3, 16, 16), weight).shape == (2, 4, 32, 32)
    with pytest.raises(AssertionError):
        convolve_doubled(torch.randn(1, 3, 16, 16), weight)


def test_taps_are_added_in_float32_inside_autocast():
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        taps = doubled_taps(weight)
    assert taps.dtype == torch.float32 and torch.equal(taps, doubled_taps(weight))
    last = weight[:, :, 1:, 1:].sum((2, 3))  # of output (2y, 2x), below and to the right of the pixel before
    torch.testing.assert_close(taps[:4, :, 1, 1], last)
