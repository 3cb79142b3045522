"""Frozen networks look once: the views of a pack's pictures, found beside it or made there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2i.config import Config
from s2i.data.dataset import picture_batches
from s2i.data.feature_cache import Views, views_folder, write_views
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.files.locks import only_process
from s2i.models.image_encoder import PretrainedImageEncoder


def open_views(encoder: nn.Module, pack: Pack, config: Config, count: int) -> Views | None:
    """`count` views of a pack's pictures by a frozen network; None where `image_encoder.views` is 0.

    They are made where they are not there yet: some 20 ms a view on one core for MobileNet-v2 at 224 px.
    Raises InputError for an image encoder that learns.
    """
    settings = config.image_encoder
    if not settings.views:
        return None
    if not isinstance(encoder, PretrainedImageEncoder):
        raise InputError(
            f"expected image_encoder.views=0 for kind {settings.kind}, which learns, found {settings.views}:"
            " leave it out"
        )
    has_regions = config.matching.region_weight > 0
    told = [settings.kind, settings.image_size, settings.pictures, settings.region_side]
    folder = views_folder(pack, [*told, encoder.fingerprint.tolist(), count, has_regions])
    if folder.is_dir():
        return Views(folder)
    # Two trainings side by side want the same: the second waits for the first's.
    with only_process(pack.folder, f".{folder.name}.lock", wait=True):
        if not folder.is_dir():
            device = encoder.region.weight.device
            write_views(folder, pack, count, lambda pictures: encoder.look(pictures.to(device)), has_regions)
    return Views(folder)


@torch.no_grad()
def gallery_vectors(encoder: nn.Module, pack: Pack, views: Views | None = None) -> Tensor:
    """The global vector of every picture of a pack, in order: (pictures, D), of its view 0 where there are
    views."""
    device = encoder.region.weight.device
    if views is not None:
        return encoder.project(views.first().to(device), None)[0].cpu()
    batches = picture_batches(pack, pack.image_size)
    return torch.cat([encoder(part.to(device))[0].cpu() for part in batches])
