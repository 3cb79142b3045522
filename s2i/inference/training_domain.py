"""The domain of a model from speech: what its encoder makes of the recordings that it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from s2i.config import MISSING
from s2i.data.batches import evaluation_batches
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.inference.path import GenerationPath
from s2i.metrics.domain import Domain, fit_domain
from s2i.progress import progress, say
from s2i.runs.fingerprints import refuse_other_data

MOST = 4000  # recordings, evenly from the whole split
BATCH = 64


def training_domain(path: GenerationPath) -> Domain | None:
    """Fit the domain to the train split of a run's pack, speakers being left out for its threshold.

    Returns:
        None, with a line that says why, where that pack can't be read, is another by now, or has too few
        recordings; or the model has no encoder.
    """
    packs = path.config.data.pack
    if path.encoder is None or packs == MISSING:
        return None
    try:
        refuse_other_data(path.data, packs, "the exported run", "pack that data again")
        pack = Pack(Path(packs) / "train", path.config)
        spoken = pack.usable("speech")
    except InputError as error:
        say(f"the model will not know when a recording is unlike those that it was trained on: {error}")
        return None
    chosen = spoken[:: -(-len(spoken) // MOST)]
    batches = evaluation_batches(pack, chosen, BATCH, "speech")
    order, embeddings = [], []
    for batch in progress(batches, -(-len(chosen) // BATCH), "domain of the training recordings"):
        order.append(batch.captions.numpy())
        embeddings.append(path.encode(batch).sentence.float().cpu())
    speakers = [pack.caption(int(index)).speaker or "" for index in np.concatenate(order)]
    domain = fit_domain(torch.cat(embeddings), speakers)
    if domain is None:
        say(
            "the model will not know when a recording is unlike those that it was trained on:"
            f" {len(chosen)} of them are too few for {path.embedding_dim} numbers each"
        )
    return domain
