"""Training a caption encoder against images: `s2i train-encoder`.

Caption and image encoder learn together; the pair with the best class mAP of caption -> image on the
validation split is kept as `checkpoints/best.pt`. The test split is never opened.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from s2i import losses
from s2i.config import Config
from s2i.config_checks import augments_recordings
from s2i.config_files import require
from s2i.data.augment.augmentation import SpeechAugmentation
from s2i.data.batches import Batch, evaluation_batches
from s2i.data.dataset import CaptionedImages
from s2i.data.feature_cache import FeatureCache
from s2i.data.loader import endless_batches
from s2i.data.pack import Pack
from s2i.data.text import Vocabulary, vocabulary_of
from s2i.errors import InputError
from s2i.metrics.retrieval import retrieve_by_class
from s2i.models.build import build_caption_encoder, build_image_encoder
from s2i.models.interfaces import CaptionEncoder
from s2i.progress import say
from s2i.runs.checkpoint import BEST, write_checkpoint
from s2i.runs.fingerprints import data_of_run
from s2i.runs.pretrained_weights import connect, require_backbone
from s2i.runs.run import alone_in_its_run
from s2i.training.autoencoding import autoencoding_errors, autoencoding_loss, build_decoder
from s2i.training.cached_features import gallery_vectors, open_feature_cache
from s2i.training.distributed import Engine
from s2i.training.ema import averaged, update_average
from s2i.training.encoder_memory import count_encoder_peak
from s2i.training.fine_tuning import models_of_training, start_encoders, vocabulary_to_start_from
from s2i.training.joint_batch import ALONE, JointBatch
from s2i.training.loop import Training
from s2i.training.matching_loss import matching_loss
from s2i.training.memory import fit_to_memory
from s2i.training.micro_batches import use_micro_batches
from s2i.training.optim import adam, clip_gradients, set_learning_rate

AVERAGE = "caption_encoder_ema"  # its name in a checkpoint


class EncoderNetworks(nn.Module):
    """The networks in training: a caption encoder, an image encoder and the classifier that both share; a
    classifier of speakers, where it has a weight."""

    def __init__(
        self,
        config: Config,
        vocabulary: int,
        classes: int,
        speakers: tuple[int, Tensor] | None = None,
        joint: JointBatch = ALONE,
    ) -> None:
        """`speakers`: how many there are, and the number of each caption's in the pack, -1 of none; `joint`:
        in which images are compared with captions."""
        super().__init__()
        self.config, self.joint = config, joint
        self.caption_encoder = build_caption_encoder(config, vocabulary)
        self.image_encoder = build_image_encoder(config, self.caption_encoder.embedding_dim)
        self.classifier = nn.Linear(self.caption_encoder.embedding_dim, classes)
        if config.matching.autoencoding_weight:
            self.decoder = build_decoder(config, self.caption_encoder.embedding_dim)
        if not config.matching.region_weight:  # nothing would train it
            self.image_encoder.region.requires_grad_(False)
        if not config.matching.class_weight:
            self.classifier.requires_grad_(False)
        if speakers is not None:
            count, of_captions = speakers
            width = self.caption_encoder.embedding_dim
            self.speaker_classifier = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, count)
            )
            self.register_buffer("speakers", of_captions, persistent=False)

    def train(self, mode: bool = True) -> EncoderNetworks:
        """As of any module; an image encoder that is held stays in evaluation mode."""
        super().train(mode)
        if self.config.matching.hold_images:
            self.image_encoder.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch and its terms: batch matching, region-segment and class ("distinctive") loss."""
        encoding = self.caption_encoder(batch.inputs, batch.lengths)
        if batch.images is None:
            vectors, regions = self.image_encoder.project(batch.pooled, batch.regions)
        else:
            vectors, regions = self.image_encoder(batch.images)
        other = None
        if batch.other_mels is not None:
            other = self.caption_encoder(batch.other_mels, batch.other_mel_lengths).sentence
        total, terms = matching_loss(
            vectors, regions, encoding, batch.class_ids, self.config.matching, other, self.joint
        )
        if self.config.matching.class_weight:
            value = losses.class_loss(
                self.classifier(vectors), self.classifier(encoding.sentence), batch.class_ids
            )
            total = total + self.config.matching.class_weight * value
            terms["loss/class"] = value.detach()
        weight = self.config.matching.speaker_adversarial_weight
        if hasattr(self, "speaker_classifier"):
            # The classifier learns at its own rate; the encoder, against it, `weight` times as strongly.
            heard = self.speaker_classifier(losses.reverse_gradient(encoding.sentence, weight))
            speakers = self.speakers[batch.captions]
            value = losses.speaker_loss(*map(self.joint.gather, (heard, speakers)))
            total = total + value
            terms["loss/speaker"] = value.detach()
        if self.config.matching.autoencoding_weight:
            value = autoencoding_loss(self.decoder, encoding, batch.mels, batch.mel_lengths)
            total = total + self.config.matching.autoencoding_weight * value
            terms["loss/autoencoding"] = value.detach()
        return total, terms


@alone_in_its_run
def train_encoder(config: Config) -> Path:
    """Train, continue or find finished; returns the run's folder."""
    require(config, "run", "data.pack")
    if config.matching.autoencoding_weight and config.modality == "text":
        raise InputError(
            "expected modality=speech for matching.autoencoding_weight, found text: change either"
        )
    data = data_of_run(config.run, config.data.pack)
    train_pack, val_pack = (Pack(Path(config.data.pack) / split, config) for split in ("train", "val"))
    vocabulary = None
    if config.modality == "text":
        vocabulary = vocabulary_to_start_from(config)
        if vocabulary is not None:
            _refuse_unknown_words(config, train_pack, vocabulary)
        else:
            vocabulary = vocabulary_of(config.text_encoder.units, train_pack.texts())
    if config.matching.hold_images and not config.start_from:
        raise InputError(
            "expected start_from for matching.hold_images, as the image encoder learns nothing, found none:"
            " name a run of s2i train-encoder, or an exported model"
        )
    settings, engine = config.matching, Engine.start(config)
    rows = engine.rows(settings.batch_size, "matching.batch_size")
    lower = "matching.batch_size or image_encoder.input_size"
    engine = fit_to_memory(engine, rows, partial(count_encoder_peak, EncoderNetworks), lower)
    sizes = len(vocabulary or ()), len(train_pack.class_labels)
    networks = EncoderNetworks(config, *sizes, _speakers(config, train_pack), engine.joint).to(engine.device)
    trained_by = start_encoders(config, networks)
    if settings.hold_images:
        networks.image_encoder.requires_grad_(False)
        networks.train()
    average = averaged(networks.caption_encoder) if settings.ema else None
    image_encoder = connect(networks.image_encoder, config.image_encoder)
    require_backbone(image_encoder)
    use_micro_batches(engine.config.micro_batch, networks.caption_encoder, image_encoder)
    with engine.first():
        train_views = open_feature_cache(image_encoder, train_pack, config, config.image_encoder.cached_crops)
        val_views = open_feature_cache(image_encoder, val_pack, config, 1)
    networks, optimiser = engine.prepare(networks, adam(networks.parameters(), settings.optimiser))
    for pack in (train_pack, val_pack):
        refuse_short_recordings(engine.unwrap(networks).caption_encoder, pack)
    words, size = config.text_encoder.max_words, config.packed_size
    dataset = CaptionedImages(
        train_pack,
        config.seed,
        size,
        config.modality,
        vocabulary,
        words,
        feature_cache=train_views,
        augmentation=augmentation_of(config, engine.unwrap(networks).caption_encoder),
        twice=settings.invariance_weight > 0,
    )
    networks_and_optimiser = {**dict(engine.unwrap(networks).named_children()), "optimiser": optimiser}
    if average:
        networks_and_optimiser[AVERAGE] = average
    facts = {
        "kind": "encoder",
        "data": data,
        "models": models_of_training(config, "encoder"),
        "trained_by": trained_by,
        "vocabulary": vocabulary.to_list() if vocabulary else None,
    }
    with Training(engine, settings.steps, networks_and_optimiser, facts) as training:
        batches = endless_batches(
            dataset,
            rows,
            config.seed,
            training.step,
            config.data.workers,
            engine.rank,
            engine.world,
        )
        for step in training.steps_left():
            rate = set_learning_rate(optimiser, settings.optimiser, step, settings.steps)
            total, terms = networks(training.fetch(batches))
            optimiser.zero_grad(set_to_none=True)
            engine.backward(total)
            norm = clip_gradients(networks.parameters(), settings.optimiser.clip)
            optimiser.step()
            if average:
                update_average(average, engine.unwrap(networks).caption_encoder, step, settings.ema)
            training.record(terms | {"loss/all": total, "grad_norm/all": norm, "lr/all": rate})
            if training.every(settings.validate_every):
                _validate(training, engine.unwrap(networks), average, val_pack, vocabulary, val_views)
            training.save_if_due()
    return training.run.folder


def _validate(
    training: Training,
    networks: EncoderNetworks,
    average: AveragedModel | None,
    pack: Pack,
    vocabulary: Vocabulary | None,
    cached_crops: FeatureCache | None,
) -> None:
    """Measure on the validation split; keep the networks if they are the best so far, with the average of the
    caption encoder in its place, where there is one."""
    config = networks.config
    caption_encoder = average.module if average else networks.caption_encoder
    if not training.engine.is_main:
        return
    networks.eval()
    if config.matching.autoencodes_alone:
        scores = autoencoding_errors(caption_encoder, networks.decoder, pack, config)
        protocol, deciding, sign = "autoencoding", "autoencoding_error", -1
    else:
        nets = caption_encoder, networks.image_encoder
        scores = retrieval_scores(*nets, pack, config, vocabulary, cached_crops)
        protocol, deciding, sign = "retrieval_by_caption", "mAP", 1
    networks.train()
    means = {name: round(float(values.mean()), 5) for name, values in scores.items()}
    procedure = {"step": training.step, "split": "val", "counts": {"captions": len(scores[deciding])}}
    procedure |= {"protocol": protocol, "weights": "ema" if average else "live", "seed": config.seed}
    procedure["fingerprint"] = pack.fingerprint
    for name, value in means.items():
        training.run.metric({"metric": name, "value": value, **procedure})
    say(f"{training.run.label}: step {training.step}, validation " + _listed(means))
    best = training.extra.get("best", {}).get(deciding)
    if best is None or sign * means[deciding] > sign * best:
        training.extra["best"] = {"step": training.step, **means}
        snapshot = training.snapshot()
        if average:
            snapshot["nets"]["caption_encoder"] = snapshot["nets"].pop(AVERAGE)
        write_checkpoint(training.run.checkpoints / BEST, {**snapshot, "metrics": means | procedure})


@torch.no_grad()
def retrieval_scores(
    caption_encoder: nn.Module,
    image_encoder: nn.Module,
    pack: Pack,
    config: Config,
    vocabulary: Vocabulary | None,
    cached_crops: FeatureCache | None = None,
) -> dict[str, Tensor]:
    """`recall@k` and `mAP` of every usable caption of a pack; its images are the gallery."""
    vectors, captions = [], []
    device = next(caption_encoder.parameters()).device
    sizes = config.matching.batch_size, config.modality, vocabulary, config.text_encoder.max_words
    usable = readable_captions(pack, config, caption_encoder, vocabulary)
    for batch in evaluation_batches(pack, usable, *sizes):
        batch = batch.to(device)
        vectors.append(caption_encoder(batch.inputs, batch.lengths).sentence.cpu())
        captions.append(batch.captions.cpu())
    order = torch.cat(captions)
    gallery = gallery_vectors(image_encoder, pack, cached_crops)
    labels = torch.from_numpy(pack.labels)
    query_labels = labels[torch.from_numpy(pack.caption_image)[order]]
    return retrieve_by_class(torch.cat(vectors), gallery, query_labels, labels)


def readable_captions(
    pack: Pack, config: Config, encoder: CaptionEncoder, vocabulary: Vocabulary | None
) -> np.ndarray:
    """Captions long enough for a speech encoder, or with a word that a text encoder knows: rising indices."""
    usable = pack.usable(config.modality)
    if config.modality == "speech":
        return usable[pack.mel_lengths[usable] >= encoder.shortest()]
    words = config.text_encoder.max_words
    known = [index for index in usable if _has_known_word(pack.caption(index).text, vocabulary, words)]
    return np.array(known, dtype=np.int64)


def _has_known_word(text: str | None, vocabulary: Vocabulary, words: int) -> bool:
    try:
        vocabulary.encode(text or "", words)
    except InputError:
        return False
    return True


def _refuse_unknown_words(config: Config, pack: Pack, vocabulary: Vocabulary) -> None:
    """Raises InputError for captions without a word of the vocabulary: of other data than it was made of."""
    words, usable = config.text_encoder.max_words, pack.usable("text")
    texts = (pack.caption(int(index)).text for index in usable)
    unknown = [text for text in texts if not _has_known_word(text, vocabulary, words)]
    if unknown:
        raise InputError(
            f"expected captions with words that {config.start_from} knows, found {len(unknown)}"
            f" of {len(usable)} without one in {pack.folder}, {unknown[0]!r} the first: take them out of the"
            " manifest and pack again"
        )


def _speakers(config: Config, pack: Pack) -> tuple[int, Tensor] | None:
    """How many speak, and who each caption, where the speech encoder is trained against that; else None."""
    if config.modality == "text" or not config.matching.speaker_adversarial_weight:
        return None
    names, of_captions = pack.speakers()
    if len(names) < 2:
        raise InputError(
            f"expected two speakers or more for matching.speaker_adversarial_weight, found {len(names)} named"
            f" in {pack.folder}: name them in the manifest and pack again, or leave the weight at 0"
        )
    return len(names), torch.from_numpy(of_captions)


def augmentation_of(config: Config, encoder: CaptionEncoder) -> SpeechAugmentation | None:
    """What a configuration does to the recordings that train a speech encoder; None if nothing."""
    if config.modality == "text" or not augments_recordings(config):
        return None
    return SpeechAugmentation(config.data.augment, config.audio, encoder.shortest())


def refuse_short_recordings(encoder: CaptionEncoder, pack: Pack) -> None:
    """Raises InputError for a recording that is too short for one step of a speech encoder."""
    if not hasattr(encoder, "shortest"):  # of text
        return
    lengths = pack.mel_lengths
    short = np.flatnonzero((lengths > 0) & (lengths < encoder.shortest()))
    if len(short):
        first = int(short[0])
        raise InputError(
            f"expected recordings of {encoder.shortest()} frames or more in {pack.folder}, found {len(short)}"
            f" shorter ones, {pack.caption(first).audio} ({lengths[first]} frames) the first:"
            " take them out of the manifest and pack again"
        )


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
