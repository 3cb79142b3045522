"""The R-precision encoder of R-precision: a caption and an image encoder that were matched apart from every
generator.

The encoders that a generator was trained on overrate its images, which were optimised for them. An
R-precision encoder is a run of `s2i train-encoder` with another seed, of either modality, whatever the
generator's is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2i.data.batches import evaluation_batches
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.extractors import Extractor, image_extractor
from s2i.inference.path import GenerationPath
from s2i.progress import progress
from s2i.runs.checkpoint import BEST, read_checkpoint
from s2i.runs.fingerprints import refuse_other_data
from s2i.runs.provenance import Origins, origins_of_image_encoder, origins_of_network, refuse_shared
from s2i.training.encoder import readable_captions
from s2i.training.matching_model import MatchingModel, load_matching_model


@dataclass(frozen=True)
class RPrecisionEncoder:
    """A matching model that had no part in the training of the generator it scores."""

    model: MatchingModel
    device: torch.device

    @property
    def origins(self) -> Origins:
        """Of both encoders, a pretrained network that it looks through, and what these were tuned from."""
        return {
            **origins_of_network(self.model.encoder, "its caption encoder"),
            **origins_of_image_encoder(self.model.image_encoder, str(self.model.folder)),
            **self.model.trained_by,
        }

    def extractor(self) -> Extractor:
        """Its image encoder, as an extractor of features."""
        model = self.model
        extractor = image_extractor(
            "r_precision_encoder",
            f"image encoder of {model.folder.name} ({model.config.modality})",
            model.image_encoder,
            model.encoder.embedding_dim,
        )
        return replace(extractor, weights=self.origins)

    def readable(self, pack: Pack) -> np.ndarray:
        """Captions of a pack that it can read, rising."""
        return readable_captions(pack, self.model.config, self.model.encoder, self.model.vocabulary)

    @torch.no_grad()
    def encode(self, pack: Pack, captions: np.ndarray, batch_size: int) -> Tensor:
        """Embeddings of captions, rising indices in the pack: (N, D)."""
        config = self.model.config
        embeddings = torch.empty(len(captions), self.model.encoder.embedding_dim)
        batches = evaluation_batches(
            pack, captions, batch_size, config.modality, self.model.vocabulary, config.text_encoder.max_words
        )
        for batch in progress(
            batches, -(-len(captions) // batch_size), "R-precision encoder: encoding captions"
        ):
            encoding = self.model.encoder(batch.inputs.to(self.device), batch.lengths.to(self.device))
            places = np.searchsorted(captions, batch.captions.numpy())
            embeddings[places] = encoding.sentence.float().cpu()
        return embeddings


def load_r_precision_encoder(folder: str | Path, path: GenerationPath) -> RPrecisionEncoder:
    """The R-precision encoder in a run's folder, for a path that it had no part in.

    Raises InputError for another kind of run, for the encoders that the path was trained on, for others over
    the same pretrained network, for their twins of the same seed, and for an R-precision encoder that reads
    another front end's features or was trained on other data.
    """
    model = load_matching_model(folder, "evaluation.r_precision_encoder", path.device)
    refuse_shared(
        path.all_trained_by(),
        RPrecisionEncoder(model, path.device).origins,
        "an R-precision encoder",
        "train other ones with s2i train-encoder ... seed=N image_encoder.kind=KIND, of another kind than the"
        " generator's where that is a pretrained network",
    )
    _refuse_twin(model, path)
    if model.config.modality == "speech" and model.config.audio != path.config.audio:
        raise InputError(
            f"expected an R-precision encoder with the audio settings of the pack, found others in {folder}:"
            " train it on this pack"
        )
    mend = "train one on this pack, into another folder"
    refuse_other_data(model.data, path.config.data.pack, f"the R-precision encoder {folder}", mend)
    return RPrecisionEncoder(model, path.device)


def _refuse_twin(r_precision_encoder: MatchingModel, path: GenerationPath) -> None:
    """A run that had a part in the generator's training, or one that began with the same weights."""
    gan = path.config.gan
    partners = [Path(name) for name in (gan.encoder, gan.other_encoder, gan.matching_model) if name]
    for partner in partners:
        if partner.exists() and partner.resolve() == r_precision_encoder.folder.resolve():
            raise InputError(
                "expected an R-precision encoder that had no part in the generator's training, found the run"
                f" that it was trained on, {partner}: train other ones with s2i train-encoder ... seed=N"
            )
        saved = partner / "checkpoints" / BEST
        config = read_checkpoint(saved)["config"] if saved.is_file() else {}
        if (config.get("modality"), config.get("seed")) == (
            r_precision_encoder.config.modality,
            r_precision_encoder.config.seed,
        ):
            raise InputError(
                f"expected an R-precision encoder of another seed than the generator's encoders, found"
                f" seed {config['seed']}"
                f" in {r_precision_encoder.folder} as in {partner}: train one with s2i train-encoder ..."
                f" seed=N"
            )
