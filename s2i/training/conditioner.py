"""Where a generator's captions come from: a caption encoder with the image encoder that it was matched with.

A run has one source, or one of each modality (`gan.other_encoder`), whose batches take turns.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from s2i.config import Config
from s2i.config_files import config_from_dict, config_to_dict
from s2i.data.batches import Batch
from s2i.data.dataset import CaptionedImages
from s2i.data.pack import Pack
from s2i.data.text import Vocabulary
from s2i.errors import InputError
from s2i.models.build import CaptionEncoder, build_caption_encoder, build_image_encoder
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.image_encoder import ImageEncoder, PretrainedImageEncoder
from s2i.models.relation import RelationSupervisor
from s2i.runs.checkpoint import read_checkpoint
from s2i.runs.fingerprints import refuse_other_data
from s2i.runs.pretrained_weights import connect, require_backbone
from s2i.training.distributed import Engine
from s2i.training.ema import averaged, update_average
from s2i.training.encoder import BEST, refuse_short_recordings
from s2i.training.matching_model import MatchingModel, freeze, load_matching_model
from s2i.training.optim import adam, clip_gradients, set_learning_rate

ENCODER_SECTIONS = ("audio", "speech_encoder", "text_encoder", "image_encoder", "modality")
ANEW = "train it anew on this pack, into another folder"
OTHER = "other_"  # before the names of the second source's networks in a checkpoint
Encoders = tuple[CaptionEncoder, ImageEncoder | PretrainedImageEncoder, Vocabulary | None]


class CaptionSource:
    """Captions of one modality, encoded for a generator.

    With `gan.encoder_lr` the caption encoder learns with the generator, in training mode, and its running
    average is what sampling and export use, as the generator's is.

    Attributes:
        config: the run's, as this modality sees it.
        dataset: what it reads.
        encoder, image_encoder, vocabulary: as loaded; the image encoder is frozen.
        looks, matching: the image encoder that looks at generated images, and what it was trained with: this
            one's, or those of the run `gan.matching_model`.
        relation, relation_optimiser: the relation supervisor in this image encoder's space.
    """

    def __init__(self, config: Config, pack: Pack, engine: Engine, encoders: Encoders, prefix: str) -> None:
        """`prefix`: "" or OTHER. Raises InputError for recordings that are too short for the encoder."""
        self.config, self.engine, self.prefix = config, engine, prefix
        self.encoder, self.image_encoder = (network.to(engine.device) for network in encoders[:2])
        self.vocabulary = encoders[2]
        refuse_short_recordings(self.encoder, pack)
        settings = config.gan
        self._model = None
        if settings.matching_model:
            self._model = _load_matching_model(config, self.vocabulary, engine)
            refuse_short_recordings(self._model.encoder, pack)
        self.looks = self._model.image_encoder if self._model else self.image_encoder
        matched = self._model.config if self._model else config
        self.matching = matched.matching
        self.relation = RelationSupervisor(matched.embedding).to(engine.device)
        self.relation_optimiser = adam(self.relation.parameters(), settings.relation)
        engine.share(self.relation, self.encoder)
        self.dataset = CaptionedImages(
            pack,
            config.seed,
            config.image_size,
            config.modality,
            self.vocabulary,
            config.text_encoder.words,
            same_class=settings.relation_weight > 0,
            augment=settings.augment,
        )
        self.learns = settings.encoder_lr > 0
        if self.learns:
            self._average = averaged(self.encoder)
            self._tuning = replace(settings.generator, lr=settings.encoder_lr)
            self.encoder.requires_grad_(True).train()
            self._optimiser = adam(self.encoder.parameters(), self._tuning)

    @property
    def averaged_encoder(self) -> nn.Module:
        """What sampling and export encode with: in evaluation mode."""
        return self._average.module if self.learns else self.encoder

    def parts(self) -> dict[str, nn.Module | Optimizer]:
        """Networks, averages and optimisers by their names in a checkpoint."""
        found: dict[str, nn.Module | Optimizer] = {
            "relation": self.relation,
            "caption_encoder": self.encoder,
            "image_encoder": self.image_encoder,
            "relation_optimiser": self.relation_optimiser,
        }
        if self._model:
            found |= {"matching_caption_encoder": self._model.encoder, "matching_image_encoder": self.looks}
        if self.learns:
            found |= {"caption_encoder_ema": self._average, "caption_encoder_optimiser": self._optimiser}
        return {self.prefix + name: part for name, part in found.items()}

    def encode(self, batch: Batch) -> CaptionEncoding:
        """Encode a batch's captions; with history where the encoder learns."""
        with torch.set_grad_enabled(self.learns), self.engine.autocast():
            return self.encoder(batch.inputs, batch.lengths)

    @torch.no_grad()
    def read(self, batch: Batch) -> CaptionEncoding | None:
        """A batch's captions as `gan.matching_model` reads them; none where there is no such run."""
        if self._model is None:
            return None
        with self.engine.autocast():
            return self._model.encoder(batch.inputs, batch.lengths)

    def zero_grad(self) -> None:
        """Forget the encoder's gradients before the generator's backward pass."""
        if self.learns:
            self._optimiser.zero_grad(set_to_none=True)

    def learn(self, step: int) -> None:
        """The encoder's own step, after the generator's backward pass; nothing where it is frozen."""
        if not self.learns:
            return
        set_learning_rate(self._optimiser, self._tuning, step, self.config.gan.steps)
        self.engine.average_gradients(self.encoder)
        clip_gradients(self.encoder.parameters(), self._tuning.clip)
        self._optimiser.step()

    def learn_relations(self, step: int) -> None:
        """The relation supervisor's own step, after its backward pass."""
        settings = self.config.gan.relation
        set_learning_rate(self.relation_optimiser, settings, step, self.config.gan.steps)
        clip_gradients(self.relation.parameters(), settings.clip)
        self.relation_optimiser.step()

    def update_average(self, step: int) -> None:
        """Move the encoder's average, once a batch."""
        if self.learns:
            update_average(self._average, self.encoder, step, self.config.gan.ema)


def source_of_step(step: int, sources: int, penalty_every: int) -> int:
    """Which of the sources a step reads: they take turns.

    The turn moves on by one more wherever all penalty steps would else fall to the same source.
    """
    shift = step // penalty_every if penalty_every % sources == 0 else 0
    return (step + shift) % sources


def load_encoders(config: Config) -> Encoders:
    """Frozen caption and image encoder of `config.gan.encoder`, and its vocabulary.

    With `gan.encoder_start` "random" the caption encoder keeps the weights it was made with.
    Raises InputError where that run's encoders are others than this configuration describes, or learnt from
    other data.
    """
    path = Path(config.gan.encoder) / "checkpoints" / BEST
    state = read_checkpoint(path)
    theirs, ours = config_to_dict(config_from_dict(state["config"], str(path))), config_to_dict(config)
    for section in ENCODER_SECTIONS:
        if _decisive(theirs.get(section)) != _decisive(ours.get(section)):
            raise InputError(
                f"expected the {section} of {config.gan.encoder} ({theirs.get(section)}), found"
                f" {ours.get(section)} in this configuration: give both trainings the same"
            )
    refuse_other_data(state.get("data"), config.data.pack, f"gan.encoder {config.gan.encoder}", ANEW)
    vocabulary = Vocabulary.from_list(state["vocabulary"]) if state["vocabulary"] else None
    encoder = build_caption_encoder(config, len(vocabulary or ()))
    image_encoder = build_image_encoder(config)
    if config.gan.encoder_start == "matched":
        encoder.load_state_dict(state["nets"]["caption_encoder"])
    image_encoder.load_state_dict(state["nets"]["image_encoder"])
    connect(image_encoder, config.image_encoder)
    if (config.gan.matching_weight or config.gan.relation_weight) and not config.gan.matching_model:
        require_backbone(image_encoder)
    return freeze(encoder), freeze(image_encoder), vocabulary


def _load_matching_model(config: Config, vocabulary: Vocabulary | None, engine: Engine) -> MatchingModel:
    """Raises InputError where that run learnt from other data, or reads another form of it."""
    model = load_matching_model(config.gan.matching_model, "gan.matching_model", engine.device)
    refuse_other_data(model.data, config.data.pack, f"gan.matching_model {model.folder}", ANEW)
    ours, theirs = (_reads(*of) for of in ((config, vocabulary), (model.config, model.vocabulary)))
    for name in ours:
        if ours[name] != theirs[name]:
            raise InputError(
                f"expected gan.matching_model to read the {name} that gan.encoder reads, found another in"
                f" {model.folder}: train both on the same pack, from the same modality"
            )
    require_backbone(model.image_encoder)
    return model


def _reads(config: Config, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """What a caption encoder is given."""
    if config.modality == "speech":
        return {"modality": "speech", "audio": replace(config.audio, weights="")}
    return {
        "modality": "text",
        "vocabulary": vocabulary.to_list(),
        "text_encoder.words": config.text_encoder.words,
    }


def _decisive(section: Any) -> Any:
    """A section without the place of a file: what is in the file is known by its fingerprint."""
    if not isinstance(section, dict):
        return section
    return {key: value for key, value in section.items() if key != "weights"}
