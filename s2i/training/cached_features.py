"""Features of a frozen image network: read from the cache beside the pack, or extracted and cached there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from s2i.config import Config
from s2i.data.crops import image_batches
from s2i.data.feature_cache import FeatureCache, feature_cache_folder, write_feature_cache
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.files.locks import only_process
from s2i.models.image_encoder import PretrainedImageEncoder


@dataclass(frozen=True)
class Look:
    """What a pretrained image encoder's frozen network sees of images."""

    encoder: PretrainedImageEncoder

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) on the CPU -> (B, G), (B, C, R)."""
        return self.encoder.look(images.to(self.encoder.region.weight.device))


def open_feature_cache(
    encoder: nn.Module, pack: Pack, config: Config, crops: int, processes: int = 1
) -> FeatureCache | None:
    """Features of `crops` crops of each image by a frozen network; None if `image_encoder.cached_crops` is 0.

    They are extracted unless they are cached already: some 20 ms a crop on one core for
    MobileNet-v2 at 224 px. `processes`: that extract.
    Raises InputError for an image encoder that learns.
    """
    settings = config.image_encoder
    if not settings.cached_crops:
        return None
    if not isinstance(encoder, PretrainedImageEncoder):
        raise InputError(
            f"expected image_encoder.cached_crops=0 for kind {settings.kind}, which learns, found"
            f" {settings.cached_crops}:"
            " leave it out"
        )
    has_regions = config.matching.region_weight > 0
    network = [settings.kind, settings.input_size, settings.input_normalization, settings.region_side]
    folder = feature_cache_folder(pack, [*network, encoder.fingerprint.tolist(), crops, has_regions])
    if folder.is_dir():
        return FeatureCache(folder)
    # Of two trainings that need the same cache, the second waits for the first's.
    with only_process(pack.folder, f".{folder.name}.lock", wait=True):
        if not folder.is_dir():
            write_feature_cache(folder, pack, crops, Look(encoder), has_regions, processes)
    return FeatureCache(folder)


@torch.no_grad()
def gallery_vectors(encoder: nn.Module, pack: Pack, feature_cache: FeatureCache | None = None) -> Tensor:
    """The global vector of every image of a pack, in order: (images, D), of its centre crop."""
    device = encoder.region.weight.device
    if feature_cache is not None:
        return encoder.project(feature_cache.centre_crops().to(device), None)[0].cpu()
    batches = image_batches(pack, pack.packed_size)
    return torch.cat([encoder(images.to(device))[0].cpu() for images in batches])
