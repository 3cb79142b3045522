"""What conditions a generator: captions of one modality, encoded by a trained caption encoder.

A run has one conditioner, or one of each modality (`gan.other_encoder`), whose batches take turns.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.optim import Optimizer

from s2i.config import MISSING, Config
from s2i.data.batches import Batch
from s2i.data.dataset import CaptionedImages
from s2i.data.pack import Pack
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.relation import RelationSupervisor
from s2i.models.wav2pix import CaptionClassifier
from s2i.runs.provenance import Origins, origins_of_image_encoder, origins_of_network
from s2i.training.distributed import Engine
from s2i.training.ema import averaged, update_average
from s2i.training.encoder import augmentation_of, refuse_short_recordings
from s2i.training.learner import Learner
from s2i.training.trained_encoders import Encoders, encoder_origins, load_gan_matching_model

OTHER = "other_"  # before the names of the second conditioner's networks in a checkpoint


class Conditioner:
    """Captions of one modality, encoded for a generator, and the networks in the space of their encoder.

    With `gan.encoder_lr` the caption encoder is tuned with the generator, in training mode, and its running
    average is what sampling and export use, as the generator's is.

    Attributes:
        config: the run's, as this modality sees it.
        dataset: what it reads.
        encoder, image_encoder, vocabulary: as loaded; the image encoder is frozen.
        matching_image_encoder, matching: the image encoder that embeds generated images, and what it was
            trained with: this one's, or those of the run `gan.matching_model`.
        relation, relation_learner: the relation supervisor in that image encoder's space.
        encoder_learners: of the caption encoder: none where it is frozen, else one.
        caption_classifier: that learns with it (Wav2Pix); None without `gan.caption_class_weight`.
    """

    def __init__(self, config: Config, pack: Pack, engine: Engine, encoders: Encoders, prefix: str) -> None:
        """`prefix`: "" or OTHER. Raises InputError for recordings that are too short for the encoder."""
        self.config, self.engine, self.prefix = config, engine, prefix
        self.encoder, self.image_encoder = (network.to(engine.device) for network in encoders[:2])
        self.vocabulary = encoders[2]
        refuse_short_recordings(self.encoder, pack)
        settings = config.gan
        self._matching_model = None
        if settings.matching_model:
            self._matching_model = load_gan_matching_model(config, self.vocabulary, engine.device)
            refuse_short_recordings(self._matching_model.encoder, pack)
        matched = self._matching_model or self
        self.matching_image_encoder = matched.image_encoder
        self.matching = matched.config.matching
        self.relation = RelationSupervisor(matched.encoder.embedding_dim).to(engine.device)
        self.relation_learner = Learner(engine, self.relation.parameters(), settings.relation, settings.steps)
        engine.share(self.relation, self.encoder)
        self.dataset = CaptionedImages(
            pack,
            config.seed,
            config.generated_size,
            config.modality,
            self.vocabulary,
            config.text_encoder.max_words,
            same_class=settings.relation_weight > 0,
            augment=settings.augment,
            augmentation=augmentation_of(config, self.encoder) if settings.augment_recordings else None,
        )
        self.is_tuned = settings.encoder_lr > 0
        self.caption_classifier: CaptionClassifier | None = None
        if settings.caption_class_weight:
            classes = len(pack.class_labels)
            self.caption_classifier = CaptionClassifier(self.encoder.embedding_dim, classes).to(engine.device)
            engine.share(self.caption_classifier)
            engine.join_batch_norms(self.caption_classifier)
        self.encoder_learners: list[Learner] = []
        if self.is_tuned:
            self._average = averaged(self.encoder)
            self.encoder.requires_grad_(True).train()
            engine.join_batch_norms(self.encoder)
            tuning = replace(settings.generator, lr=settings.encoder_lr)
            learning = nn.ModuleList(filter(None, (self.encoder, self.caption_classifier)))
            self.encoder_learners = [Learner(engine, learning.parameters(), tuning, settings.steps)]

    @property
    def averaged_encoder(self) -> nn.Module:
        """What sampling and export encode with: in evaluation mode."""
        return self._average.module if self.is_tuned else self.encoder

    def networks(self) -> dict[str, nn.Module | Optimizer]:
        """Networks, averages and optimisers by their names in a checkpoint."""
        named: dict[str, nn.Module | Optimizer] = {
            "relation": self.relation,
            "caption_encoder": self.encoder,
            "relation_optimiser": self.relation_learner.optimiser,
        }
        if self.config.gan.encoder != MISSING:  # else nothing has trained it
            named["image_encoder"] = self.image_encoder
        if self._matching_model:
            named["matching_caption_encoder"] = self._matching_model.encoder
            named["matching_image_encoder"] = self.matching_image_encoder
        if self.caption_classifier is not None:
            named["caption_classifier"] = self.caption_classifier
        if self.is_tuned:
            named["caption_encoder_ema"] = self._average
            named["caption_encoder_optimiser"] = self.encoder_learners[0].optimiser
        return {self.prefix + name: network for name, network in named.items()}

    def encode(self, batch: Batch) -> CaptionEncoding:
        """Encode a batch's captions; with history where the encoder is tuned."""
        with torch.set_grad_enabled(self.is_tuned), self.engine.autocast():
            return self.encoder(batch.inputs, batch.lengths)

    @torch.no_grad()
    def encode_for_matching(self, batch: Batch) -> CaptionEncoding | None:
        """A batch's captions as `gan.matching_model` encodes them; None where there is none."""
        if self._matching_model is None:
            return None
        with self.engine.autocast():
            return self._matching_model.encoder(batch.inputs, batch.lengths)

    def origins(self) -> Origins:
        """Of the networks that it brings into the generator's training, as they are when it begins."""
        modality = self.config.modality
        origins = origins_of_network(self.encoder, f"the {modality} encoder gan.encoder")
        origins |= origins_of_image_encoder(self.image_encoder, "gan.encoder")
        if self.config.gan.encoder != MISSING:
            origins |= encoder_origins(self.config.gan.encoder, modality)
        if self._matching_model:
            origins |= origins_of_network(self._matching_model.encoder, "the encoder of gan.matching_model")
            origins |= origins_of_image_encoder(self.matching_image_encoder, "gan.matching_model")
            origins |= self._matching_model.trained_by
        return origins

    def update_average(self, step: int) -> None:
        """Move the average of a tuned encoder, once a batch."""
        if self.is_tuned:
            update_average(self._average, self.encoder, step, self.config.gan.ema)


def conditioner_of_step(step: int, conditioners: int, penalty_every: int) -> int:
    """Which of the conditioners a step reads: they take turns.

    The turn moves on by one more wherever all penalty steps would else fall to the same one.
    """
    shift = step // penalty_every if penalty_every % conditioners == 0 else 0
    return (step + shift) % conditioners
