"""Frozen networks look once: the views of a pack's images, found beside it or made there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2i.config import Config
from s2i.data.dataset import image_batches
from s2i.data.feature_cache import FeatureCache, feature_cache_folder, write_feature_cache
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.files.locks import only_process
from s2i.models.image_encoder import PretrainedImageEncoder


def open_feature_cache(encoder: nn.Module, pack: Pack, config: Config, count: int) -> FeatureCache | None:
    """`count` views of a pack's images by a frozen network; None where `image_encoder.cached_crops` is 0.

    They are made where they are not there yet: some 20 ms a view on one core for MobileNet-v2 at 224 px.
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
    told = [settings.kind, settings.image_size, settings.images, settings.region_side]
    folder = feature_cache_folder(pack, [*told, encoder.fingerprint.tolist(), count, has_regions])
    if folder.is_dir():
        return FeatureCache(folder)
    # Two trainings side by side want the same: the second waits for the first's.
    with only_process(pack.folder, f".{folder.name}.lock", wait=True):
        if not folder.is_dir():
            device = encoder.region.weight.device
            write_feature_cache(
                folder, pack, count, lambda images: encoder.look(images.to(device)), has_regions
            )
    return FeatureCache(folder)


@torch.no_grad()
def gallery_vectors(encoder: nn.Module, pack: Pack, cached_crops: FeatureCache | None = None) -> Tensor:
    """The global vector of every image of a pack, in order: (images, D), of its view 0 where there are
    views."""
    device = encoder.region.weight.device
    if cached_crops is not None:
        return encoder.project(cached_crops.first().to(device), None)[0].cpu()
    batches = image_batches(pack, pack.image_size)
    return torch.cat([encoder(part.to(device))[0].cpu() for part in batches])
