"""The training's images, as the pretrained network of a model's image encoder sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from s2i.config import MISSING
from s2i.data.crops import centre_crops, read_images
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.inference.path import GenerationPath
from s2i.metrics.neighbours import NEIGHBOURS, Neighbours, fit_neighbours
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.progress import progress, say
from s2i.runs.fingerprints import refuse_other_data

COUNT = 500  # evenly from the whole split
BATCH = 20


@torch.no_grad()
def training_images(path: GenerationPath) -> Neighbours | None:
    """Features of images of the train split of a run's pack, in the size of generated ones.

    Returns:
        None for an image encoder that was trained from nothing, or none; and, with a line that says why,
        where no candidates can be chosen, that pack can't be read or is another by now, or its images are too
        few or all alike.
    """
    packs, encoder = path.config.data.pack, path.image_encoder
    if not isinstance(encoder, PretrainedImageEncoder) or packs == MISSING:
        return None
    try:
        path.choosing_among(2)
        refuse_other_data(path.data, packs, "the exported run", "pack that data again")
        pack = Pack(Path(packs) / "train", path.config)
    except InputError as error:
        say(f"the model will not know what images of its training are like: {error}")
        return None
    count = min(COUNT, len(pack.records))
    chosen = np.linspace(0, len(pack.records) - 1, count).round().astype(int)
    crops, size, features = centre_crops(pack, len(chosen)), path.config.generated_size, []
    starts = range(0, len(chosen), BATCH)
    for start in progress(starts, len(starts), "training images as candidates are seen"):
        rows = slice(start, start + BATCH)
        images = read_images(pack, chosen[rows], crops[rows], size).to(path.device)
        features.append(encoder.look(images)[0].cpu())
    known = fit_neighbours(torch.cat(features), [""] * count) if count >= 2 * NEIGHBOURS else None
    if known is None or not known.reach:
        say(
            f"the model will not know what images of its training are like: {count} are too few, or all alike"
        )
        return None
    return known
