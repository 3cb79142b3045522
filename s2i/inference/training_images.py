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
from s2i.metrics.neighbours import Neighbours, fit_neighbours
from s2i.models.image_encoder import PretrainedImageEncoder
from s2i.progress import progress, say
from s2i.runs.fingerprints import refuse_other_data

COUNT = 500  # at most, evenly from the whole split
BATCH = 20


@torch.no_grad()
def training_images(path: GenerationPath) -> Neighbours | None:
    """Features of images of the train split of a run's pack, in the size of generated ones.

    Returns:
        None for an image encoder that was trained from nothing, or none; and, with a line that says why,
        where that pack can't be read, or is another by now.
    """
    packs, encoder = path.config.data.pack, path.image_encoder
    if not isinstance(encoder, PretrainedImageEncoder) or packs == MISSING:
        return None
    try:
        refuse_other_data(path.data, packs, "the exported run", "pack that data again")
        pack = Pack(Path(packs) / "train", path.config)
    except InputError as error:
        say(f"candidates will be chosen by their captions alone: {error}")
        return None
    chosen = np.arange(len(pack.records))[:: -(-len(pack.records) // COUNT)]
    crops, size, features = centre_crops(pack, len(chosen)), path.config.generated_size, []
    starts = range(0, len(chosen), BATCH)
    for start in progress(starts, len(starts), "training images as candidates are seen"):
        rows = slice(start, start + BATCH)
        images = read_images(pack, chosen[rows], crops[rows], size).to(path.device)
        features.append(encoder.look(images)[0].cpu())
    return fit_neighbours(torch.cat(features), [""] * len(chosen))
