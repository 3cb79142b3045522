"""Discriminators on images, each with a conditional and an unconditional head (StackGAN-v2, AttnGAN)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from math import log2

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from s2i.config_networks import DiscriminatorConfig
from s2i.models.deep_convolution import DeepConvolution
from s2i.models.generator import initialise_orthogonally
from s2i.models.gradient_layout import flatten_map
from s2i.models.tiled_convolution import convolve_tiled


class Discriminator(nn.Module):
    """Scores images of one size as real or generated, with and without the caption.

    Four halvings, or as many as lead to 4 px; above 64 px further halvings widen the map and 3x3 convolutions
    bring it back to 8 * channels. Heads give logits: the published code ends in a sigmoid, which saturates.
    """

    def __init__(
        self,
        config: DiscriminatorConfig,
        image_size: int,
        condition: int,
        classes: int = 0,
        contrastive: bool = False,
    ) -> None:
        """`condition`: width of the condition; `classes`: that a class head tells apart; 0: no such head.
        `contrastive`: with a head that finds an image's caption in the batch."""
        super().__init__()
        self.config = config
        halvings = int(log2(image_size // 4))
        widths = [min(config.channels * 2**i, config.max_channels) for i in range(halvings)]
        layers: list[nn.Module] = []
        before = 3
        for i, width in enumerate(widths):
            layers += _layer(before, width, 4, 2, config.norm if i else _first(config.norm))
            before = width
        joined = min(8 * config.channels, config.max_channels)
        while before > joined:
            layers += _layer(before, before // 2, 3, 1, config.norm)
            before //= 2
        self.backbone = nn.Sequential(*layers)
        self.joint = nn.Sequential(*_layer(before + condition, before, 3, 1, config.norm))
        self.conditional = _normed(DeepConvolution(before, 1, 4), config.norm)
        self.unconditional = _normed(DeepConvolution(before, 1, 4), config.norm)
        self.contrast = self.contrast_condition = None
        if contrastive:
            self.contrast = nn.Linear(before * 16, condition)
            self.contrast_condition = nn.Linear(condition, condition)  # can drop what all captions share
        self.classifier = nn.Linear(before * 16, classes) if classes else None

    def initialise(self) -> None:
        """Orthogonal weights; a layer with spectral norm, which holds its weight in parts, stays as it is."""
        if self.config.norm != "spectral":
            initialise_orthogonally(self)

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""
        return self.parameters()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> map (B, C, 4, 4)."""
        return self.backbone(images)

    def conditional_logits(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """Logits (B,) of "real, and of this caption": map (B, C, 4, 4), condition (B, condition)."""
        joined = convolve_tiled(hidden, condition, self.joint[0].weight, self.joint[0].bias)  # D(x, c)
        return self.conditional(self.joint[1:](joined)).flatten()

    def unconditional_logits(self, hidden: Tensor) -> Tensor:
        """Logits (B,) of "real": map (B, C, 4, 4)."""
        return self.unconditional(hidden).flatten()

    def embed(self, hidden: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (B, condition) of images and captions, to be matched; where it is `contrastive`."""
        return self.contrast(flatten_map(hidden)), self.contrast_condition(condition)

    def classify(self, hidden: Tensor) -> Tensor:
        """Logits (B, classes); where it has a class head."""
        return self.classifier(flatten_map(hidden))


View = Tensor | list[Tensor]  # what a discriminator is given: images, or a frozen network's maps of them


class Discriminators(nn.Module):
    """The discriminators of all stages, in one module."""

    def __init__(self, networks: Sequence[nn.Module], stages: Sequence[int] | None = None) -> None:
        """`networks`: see `s2i.models.interfaces.Discriminator`; `stages`: whose images each is given, in
        ascending order; None: one network a stage."""
        super().__init__()
        self.scales = nn.ModuleList(networks)
        self.stages = list(stages if stages is not None else range(len(networks)))

    def initialise(self) -> None:
        """Set the weights that a training begins with."""
        for network in self.scales:
            network.initialise()

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """The weights that the optimiser updates, of all stages."""
        return chain.from_iterable(network.trainable_parameters() for network in self.scales)

    def look(self, images: Sequence[Tensor]) -> list[View]:
        """What each discriminator is given of images, (B, 3, S, S) a stage that trains: the images, or where
        it looks through a frozen network (its method `look`), that network's maps of them."""
        return [
            network.look(images[stage]) if hasattr(network, "look") else images[stage]
            for network, stage in zip(self.scales, self.stages, strict=True)
            if stage < len(images)
        ]

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.scales)

    def __len__(self) -> int:
        return len(self.scales)


def each_map(view: View, function: Callable[[Tensor], Tensor]) -> View:
    """A function of a tensor on each tensor of a view."""
    return function(view) if isinstance(view, Tensor) else [function(maps) for maps in view]


def image_pyramid(images: Tensor, image_sizes: list[int]) -> list[Tensor]:
    """Real images at each stage's size, by area averaging: (B, 3, S, S) -> one tensor a size."""
    return [
        images if size == images.shape[-1] else F.adaptive_avg_pool2d(images, size) for size in image_sizes
    ]


def _first(norm: str) -> str:
    return "none" if norm == "batch" else norm  # the published networks have no batch norm after the first


def _normed(layer: nn.Module, norm: str) -> nn.Module:
    return spectral_norm(layer) if norm == "spectral" else layer


def _layer(before: int, after: int, kernel: int, stride: int, norm: str) -> list[nn.Module]:
    convolution = _normed(DeepConvolution(before, after, kernel, stride, 1, bias=norm != "batch"), norm)
    batch_norm = [nn.BatchNorm2d(after)] if norm == "batch" else []
    return [convolution, *batch_norm, nn.LeakyReLU(0.2)]
