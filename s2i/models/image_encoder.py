"""Image encoder: image -> a global vector and region vectors in the captions' space."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_networks import ImageEncoderConfig
from s2i.models.gradient_layout import flatten_map
from s2i.models.pretrained import KINDS, PretrainedNetwork


class ImageEncoder(nn.Module):
    """A small residual-free CNN, trained from scratch with a caption encoder.

    Each block halves the side; regions come from the last block but one, the global vector from the last.
    """

    def __init__(self, config: ImageEncoderConfig, embedding: int) -> None:
        super().__init__()
        self.config = config
        widths = (3, *config.channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)
            )
            for before, after in zip(widths, widths[1:], strict=False)
        )
        self.region = nn.Conv2d(config.channels[-2], embedding, 1)
        side = config.input_size // 2 ** len(config.channels)  # px of the last map
        self.globe = nn.Linear(config.channels[-1] * side**2, embedding)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images.

        Args:
            images: (B, 3, H, W) in [-1, 1], of any size; resized to `input_size`.

        Returns:
            global vector (B, D) and regions (B, D, R).
        """
        size = self.config.input_size
        if images.shape[-1] != size or images.shape[-2] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        hidden = images
        for block in self.blocks[:-1]:
            hidden = block(hidden)
        regions = self.region(hidden).flatten(2)
        # All places of the last map, unpooled: which part has a colour shows in where the colour is.
        pooled = self.globe(flatten_map(self.blocks[-1](hidden)))
        return (F.normalize(pooled, dim=1) if self.config.normalize == "l2" else pooled), regions


class PretrainedImageEncoder(nn.Module):
    """Two trainable layers over a frozen pretrained network, its backbone: a linear layer over the pooled
    vector (S2IGAN, AttnGAN), a 1x1 convolution over the map of regions (AttnGAN).

    The backbone isn't part of the module: no checkpoint, average or export holds its weights, no `train()` or
    optimiser reaches it. It is fetched when first an image is looked at, by `fetch`; `fingerprint` is in the
    checkpoint instead, and says which weights these two layers were trained over.
    """

    def __init__(self, config: ImageEncoderConfig, embedding: int) -> None:
        super().__init__()
        kind = KINDS[config.kind]
        self.config = config
        self.region = nn.Conv2d(kind.region_channels, embedding, 1, bias=False)
        if config.project:
            self.globe: nn.Module = nn.Linear(kind.channels, embedding)
        else:
            self.globe = nn.Identity()  # Li et al.: the pooled vector itself is what speech learns
        self.register_buffer("fingerprint", torch.zeros(32, dtype=torch.uint8))  # a SHA-256
        self.fetch: Callable[[PretrainedImageEncoder], PretrainedNetwork] | None = None
        self._backbone: list[PretrainedNetwork] = []  # in a list, out of the module's sight
        self.register_load_state_dict_pre_hook(_refuse_other_backbone)

    @property
    def feature_dim(self) -> int:
        """Numbers in the frozen network's pooled vector (G)."""
        return KINDS[self.config.kind].channels

    @property
    def backbone(self) -> PretrainedNetwork:
        """The frozen network, on the device of the layers over it."""
        if not self.has_backbone:
            if self.fetch is None:
                raise RuntimeError("expected a backbone: set `fetch`, or call `use_backbone` first")
            self.use_backbone(self.fetch(self))
        return self._backbone[0].to(self.region.weight.device)

    @property
    def has_backbone(self) -> bool:
        """Whether the frozen network has been fetched."""
        return bool(self._backbone)

    def use_backbone(self, backbone: PretrainedNetwork) -> None:
        """Look at images with this frozen network. (A setter would make it a part.)"""
        self._backbone[:] = [backbone]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the frozen network sees: images (B, 3, H, W) in [-1, 1], of any size -> pooled vector (B, G)
        and map of regions (B, C, R), averaged to `region_side` x `region_side` places.

        On a CPU in float32 even where training is in bfloat16: depthwise convolutions are slower in that.
        """
        with torch.autocast("cpu", enabled=False):
            pooled, regions = self.backbone(images.float())
        if self.config.region_side:
            regions = F.adaptive_avg_pool2d(regions, self.config.region_side)
        return pooled, regions.flatten(2)

    def project(self, pooled: Tensor, regions: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What was seen, in the captions' space: (B, G), (B, C, R) -> (B, D), (B, D, R)."""
        vectors = self.globe(pooled)
        if regions is not None:
            regions = self.region(regions.unsqueeze(3)).squeeze(3)
        return (F.normalize(vectors, dim=1) if self.config.normalize == "l2" else vectors), regions

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As ImageEncoder's."""
        return self.project(*self.look(images))


def _refuse_other_backbone(
    encoder: PretrainedImageEncoder, state: dict, prefix: str, local: dict, strict: bool, *lists: list[str]
) -> None:
    """A hook of `load_state_dict`: these two layers belong to the weights that they were trained over."""
    errors = lists[-1]
    given = state.get(f"{prefix}fingerprint")
    if encoder.has_backbone and given is not None and not torch.equal(given.cpu(), encoder.fingerprint.cpu()):
        errors.append("trained over other weights of the frozen network")
