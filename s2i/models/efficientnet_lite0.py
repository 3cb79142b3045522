"""EfficientNet-lite0 (Tan and Le, ICML 2019; the TensorFlow authors' variant for mobile devices), frozen.

EfficientNet-B0 without squeeze-and-excitation, with ReLU6 for swish and a stem and a head of fixed width.
Evaluation alone is computed: each batch norm is folded into the convolution before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURE_STRIDES = (4, 8, 16, 32)
FEATURE_CHANNELS = (24, 40, 112, 320)
CLASSES = 1000  # of ImageNet, in the usual order, from 0

# Groups of blocks that make a map of one width: expansion, kernel, stride of the first, channels, blocks.
_GROUPS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM_CHANNELS, _HEAD_CHANNELS = 32, 1280
_FEATURE_BLOCKS = (2, 4, 10, 15)  # the last block at each stride of FEATURE_STRIDES
_BATCH_NORM_EPS = 1e-3  # TensorFlow's, of the published weights


class SameConvolution(nn.Module):
    """A convolution with TensorFlow's padding "same", its batch norm folded in, and ReLU6 where asked."""

    def __init__(
        self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1, activation: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(after, before // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after))
        self.stride, self.groups, self.activation = stride, groups, activation

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        top, bottom = self._padding(maps.shape[-2])
        left, right = self._padding(maps.shape[-1])
        padding = (top, left)
        if (top, left) != (bottom, right):  # a convolution pads both ends alike
            maps, padding = F.pad(maps, (left, right, top, bottom)), (0, 0)
        maps = F.conv2d(maps, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return F.relu6(maps, inplace=True) if self.activation else maps

    def _padding(self, side: int) -> tuple[int, int]:
        """Zeros before and after a side: as few as give ceil(side / stride) places, the odd one after."""
        places = -(-side // self.stride)
        total = max((places - 1) * self.stride + self.weight.shape[-1] - side, 0)
        return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """MobileNet-v2's block: wider by a 1x1 convolution, depthwise, narrower again; added to its input where
    the two are alike."""

    def __init__(self, before: int, after: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = before * expansion
        self.expand = SameConvolution(before, width, 1) if expansion > 1 else nn.Identity()
        self.depthwise = SameConvolution(width, width, kernel, stride, groups=width)
        self.project = SameConvolution(width, after, 1, activation=False)
        self.residual = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        narrowed = self.project(self.depthwise(self.expand(maps)))
        return maps + narrowed if self.residual else narrowed


class EfficientNetLite0(nn.Module):
    """The network with zeros for weights; `fold_batch_norms` makes its state dict of the published one.

    Its parameters are frozen; gradients pass through to the images. Nothing in it depends on train or eval
    mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConvolution(3, _STEM_CHANNELS, 3, stride=2)
        blocks, before = [], _STEM_CHANNELS
        for expansion, kernel, stride, channels, count in _GROUPS:
            for number in range(count):
                blocks.append(InvertedResidual(before, channels, expansion, kernel, 1 if number else stride))
                before = channels
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConvolution(before, _HEAD_CHANNELS, 1)
        self.classifier = nn.Linear(_HEAD_CHANNELS, CLASSES)
        self.requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Maps at four strides.

        On a CPU, where images need a gradient, in float32 even under autocast: the gradient of a depthwise
        convolution with a stride is many times slower in bfloat16, whose rounding also turns the gradient at
        the images, by a cosine of .85 (times: tests/benchmarks/efficientnet_lite0.py). Otherwise in the
        precision of the surrounding autocast.

        Args:
            images: (B, 3, H, W) floating, in [-1, 1], of any side from 1 px; not resized. Values beyond that
                range are computed with as they are.

        Returns:
            (B, C, ceil(H / s), ceil(W / s)) for s, C of FEATURE_STRIDES, FEATURE_CHANNELS.

        Raises:
            ValueError: integers, such as 8-bit values, or another number of channels.
        """
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"expected images (B, 3, H, W) in [-1, 1], found {tuple(images.shape)} of {images.dtype}"
            )
        maps = images.to(self.stem.weight.dtype).contiguous(memory_format=torch.channels_last)
        features = []
        with self._precision(images):
            maps = self.stem(maps)
            for number, block in enumerate(self.blocks):
                maps = block(maps)
                if number in _FEATURE_BLOCKS:
                    features.append(maps)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits of ImageNet's classes, (B, 1000), of images as `features` takes them; best at 224 px."""
        last = self.features(images)[-1]
        with self._precision(images):
            return self.classifier(self.head(last).mean((2, 3)))

    @staticmethod
    def _precision(images: Tensor) -> torch.autocast | nullcontext:
        needs_gradient = torch.is_grad_enabled() and images.requires_grad
        if needs_gradient and images.device.type == "cpu":
            return torch.autocast("cpu", enabled=False)
        return nullcontext()


def fold_batch_norms(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `EfficientNetLite0` from one of the published PyTorch network, whose convolutions
    have no bias and a batch norm each.

    Raises KeyError for one of another network.
    """
    names = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    blocks = sum(count for *_, count in _GROUPS)
    for number in range(blocks):
        for layer, norm in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            if (number, layer) != (0, "expand"):  # which does not expand
                names[f"blocks.{number}.{layer}"] = (
                    f"_blocks.{number}._{layer}_conv",
                    f"_blocks.{number}.{norm}",
                )
    folded = {"classifier.weight": published["_fc.weight"], "classifier.bias": published["_fc.bias"]}
    for ours, (convolution, norm) in names.items():
        gain, shift, mean, variance = (
            published[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gain / (variance + _BATCH_NORM_EPS).sqrt()
        weight = published[f"{convolution}.weight"]
        folded[f"{ours}.weight"] = (weight.double() * factor[:, None, None, None]).to(weight.dtype)
        folded[f"{ours}.bias"] = (shift - mean * factor).to(weight.dtype)
    return folded
