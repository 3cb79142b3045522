"""What is measured: a trained path from captions to images, on one split, and who looks at its images.

Everything is worked out once. Generated images are looked at as they come (`looking.py`); what stays are
features, on disk, found again while their fingerprint fits. Noise belongs to (seed, caption), so two subjects
with the same captions generate from the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2i.config import MISSING, EvaluationConfig
from s2i.data.batches import Batch, evaluation_batches
from s2i.data.manifest import iterate_manifest
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.classifier import Classifier, Predictions, load_classifier
from s2i.evaluation.extractors import (
    FEATURES,
    Extractor,
    classifier_extractor,
    image_extractor,
    probabilities_of,
)
from s2i.evaluation.feature_extraction import Features, look_at_captions, look_at_generated, look_at_real
from s2i.evaluation.inception import PUBLISHED, inception_extractor
from s2i.evaluation.r_precision_encoder import RPrecisionEncoder, load_r_precision_encoder
from s2i.evaluation.score import GENERATED
from s2i.inference.path import GenerationPath
from s2i.models.generator import GeneratorOutput
from s2i.models.noise import caption_noise
from s2i.progress import progress, say
from s2i.runs.fingerprints import hold_against_measured
from s2i.training.encoder import readable_captions


class Subject:
    """A path under measurement.

    `captions`: rising indices in `pack` of the captions that it can read; `left_out`: {why: how many} of the
    others, none of which is ever counted; `read_in_part`: {why: how many} of `captions`;
    `generated_captions`:
    those of `captions` that are generated, the first `evaluation.captions` of each image; `classifier`: None
    without
    `evaluation.classifier`; `asked`: (which images, extractor by name) that should look while those are
    generated anyway; `note`: that the data may be others than were trained on, "" where they are known.
    """

    def __init__(self, path: GenerationPath, evaluation: EvaluationConfig | None = None) -> None:
        """Open pack and classifier of `evaluation`, by default the run's own. Raises InputError as they do,
        for
        an exported model that nobody gave data, for a generator without an encoder, for other data than the
        path was trained on, and for a classifier that was trained on the split that it is to score."""
        self.path = path
        self.evaluation = evaluation or path.config.evaluation
        if path.config.data.pack == MISSING:
            raise InputError(
                f"expected a run, which knows its data, found an exported model from {path.config.modality}:"
                " give the run of s2i train-gan, or to s2i evaluate the word data.pack=DIR"
            )
        if path.encoder is None:
            raise InputError(
                f"expected a model that encodes captions, found a generator alone in {path.folder}: import it"
                " again with the encoder that it was trained on"
            )
        self.pack = Pack(Path(path.config.data.pack) / self.evaluation.split, path.config)
        is_run = path.config.run != MISSING
        acknowledged = None if is_run else self.evaluation.other_data
        who = f"the {'run' if is_run else 'model'} {path.folder}"
        self.note = hold_against_measured(path.data, self.pack, who, acknowledged)
        self.captions = readable_captions(self.pack, path.config, path.encoder, path.vocabulary)
        self.left_out = left_out(self.pack, path, self.captions)
        if self.left_out:
            each = ", ".join(f"{count} {why}" for why, count in self.left_out.items())
            say(f"{self.pack.folder}: left out of {self.pack.caption_count} captions: {each}")
        self.read_in_part = read_in_part(self.pack, path, self.captions)
        for why, count in self.read_in_part.items():
            say(f"{self.pack.folder}: {count} of {len(self.captions)} captions {why} are read in part")
        self.asked: set[tuple[str, str]] = set()
        self._extractors: dict[str, Extractor | None] = {}
        self._generated: dict[tuple[str, str], Features] = {}
        self._real: dict[tuple[str, str, bytes], Features] = {}
        self.classifier: Classifier | None = None
        if self.evaluation.classifier:
            self.classifier = load_classifier(self.evaluation.classifier, path.device)
            if self.pack.fingerprint == (self.classifier.data or {}).get("train"):
                raise InputError(
                    f"expected a classifier that never saw {self.pack.folder}, found one trained on it in"
                    f" {self.evaluation.classifier}: set classifier.pack to other images and train it again"
                )

    def facts(self) -> dict[str, Any]:
        """What was measured on, for a report."""
        return {
            "split": self.evaluation.split,
            "images": len(self.pack.records),
            "captions": len(self.captions),
            "left_out": self.left_out,
            "read_in_part": self.read_in_part,
            "generated_captions": len(self.generated_captions),
            "classes": len(np.unique(self.pack.labels)),
            "generated_size": self.path.config.generated_size,
            "fingerprint": self.pack.fingerprint,
            **({"note": self.note} if self.note else {}),
            "seed": self.evaluation.seed,
            "classifier": self.classifier.identity if self.classifier else None,
        }

    def identity(self) -> dict[str, Any]:
        """What numbers kept in a file belong to: of anything else they say nothing."""
        return {
            "step": self.path.step,
            "encoder": self.path.fingerprint("encoder"),
            "generator": self.path.fingerprint("generator"),
            "pack": self.pack.fingerprint,
            "split": self.evaluation.split,
            "captions": self.evaluation.captions,
            "seed": self.evaluation.seed,
            "classifier": self.classifier.identity if self.classifier else None,
        }

    def keep(self, captions: np.ndarray) -> None:
        """Measure on these captions alone: before anything is measured."""
        self.captions = np.intersect1d(self.captions, captions)
        self.read_in_part = read_in_part(self.pack, self.path, self.captions)
        if len(self.captions) == 0:
            raise InputError(f"expected captions that every run can read in {self.pack.folder}, found none")

    @cached_property
    def generated_captions(self) -> np.ndarray:
        return self._first_captions(self.evaluation.captions)

    def labels(self, captions: np.ndarray) -> np.ndarray:
        """Class labels of captions: (N,)."""
        return self.pack.labels[self.pack.caption_image[captions]]

    @cached_property
    def sentences(self) -> Tensor:
        """A vector for each of `captions`: (N, D)."""
        return torch.from_numpy(look_at_captions(self)[FEATURES])

    @cached_property
    def gallery(self) -> Tensor:
        """Vectors of every real image by the path's own image encoder: (images, D)."""
        if self.path.image_encoder is None:
            raise InputError("expected a model with an image encoder, found one imported without")
        return torch.from_numpy(self.real("encoders")[FEATURES])

    @cached_property
    def predictions_of_generated(self) -> Predictions:
        """The classifier on the last stage's image of each of `generated_captions`."""
        return self._predictions(self.generated("classifier"))

    @cached_property
    def predictions_of_real(self) -> Predictions:
        """The classifier on every image of the split."""
        return self._predictions(self.real("classifier"))

    @cached_property
    def unseen_speakers(self) -> np.ndarray | None:
        """For each caption of the pack, whether its speaker is in no caption of the training split; None
        where the training pack is not at hand, or no caption of this split has a speaker that is unseen."""
        index = Path(self.path.config.data.pack) / "train" / "index.jsonl"
        if not index.is_file():
            return None
        seen = {caption.speaker for image in iterate_manifest(index) for caption in image.captions}
        speakers = (caption.speaker for image in self.pack.records for caption in image.captions)
        unseen = np.array([speaker is not None and speaker not in seen for speaker in speakers])
        return unseen if unseen[self.captions].any() else None

    @cached_property
    def r_precision_encoder(self) -> RPrecisionEncoder | None:
        """None without `evaluation.r_precision_encoder`."""
        return (
            load_r_precision_encoder(self.evaluation.r_precision_encoder, self.path)
            if self.evaluation.r_precision_encoder
            else None
        )

    @cached_property
    def s2igan_captions(self) -> np.ndarray:
        """The first ten captions of the first two captioned images of each class, rising."""
        captions = self._first_captions(10)
        images = np.unique(self.pack.caption_image[captions])
        chosen = images[_place_in_group(self.pack.labels[images]) < 2]
        return captions[np.isin(self.pack.caption_image[captions], chosen)]

    def extractor(self, name: str) -> Extractor | None:
        """The network of that name, None where none is configured.

        "classifier", "r_precision_encoder", "inception", "clean", "imagenet" or "encoders", the path's own
        image encoder. Raises InputError for one that is configured and can't be had.
        """
        if name not in self._extractors:
            self._extractors[name] = self._make_extractor(name)
        return self._extractors[name]

    def generated(self, name: str, which: str = GENERATED) -> Features:
        """Features of generated images, row by row as `generated_captions`, or as `s2igan_captions`:
        generated once for all who were `asked` to look at these.

        Args:
            name: of the extractor.
            which: DRAWN, or S2IGAN: the captions of an image share its noise, as in S2IGAN's script.
        """
        if (which, name) not in self._generated:
            names = {name} | {other for generated, other in self.asked if generated == which}
            wanted = sorted(name for name in names if (which, name) not in self._generated)
            found = look_at_generated(self, wanted, which)
            self._generated |= {(which, name): features for name, features in found.items()}
        return self._generated[which, name]

    def real(self, name: str, split: str = "", images: np.ndarray | None = None) -> Features:
        """Features of every real image of the split, or of another one, its centre crop.

        Args:
            name: of the extractor.
            images: indices, rising: of these alone.
        """
        key = (split, name, b"" if images is None else images.tobytes())
        if key not in self._real:
            pack = self.pack
            if split and split != self.evaluation.split:
                pack = Pack(Path(self.path.config.data.pack) / split, self.path.config)
            self._real[key] = look_at_real(self, self.must(name), pack, images)
        return self._real[key]

    def captions_of(self, which: str) -> np.ndarray:
        """What `generated` has a row for each of."""
        return self.generated_captions if which == GENERATED else self.s2igan_captions

    def generate(
        self, captions: np.ndarray, share_noise: bool = False
    ) -> Iterator[tuple[np.ndarray, Batch, GeneratorOutput]]:
        """Generate captions, batch by batch: their places in `captions`, the batch, every stage's images.

        With `share_noise` the captions of an image have one noise together; the noise of conditioning
        augmentation stays each one's own.
        """
        config = self.path.config.generator
        for batch, places in self.batches(captions, "generation"):
            indices = batch.captions.tolist()
            keys = [caption_key(self.pack, index) for index in indices]
            encoding = self.path.encode(batch)
            if not share_noise:
                yield places, batch, self.path.generate(encoding, keys, self.evaluation.seed)
                continue
            images = [self.pack.records[self.pack.caption_image[index]].id for index in indices]
            widths = (config.noise_dim, config.condition_dim)
            noise, _ = caption_noise(images, self.evaluation.seed, widths)
            _, condition = caption_noise(keys, self.evaluation.seed, widths)
            with torch.no_grad():
                device = self.path.device
                yield places, batch, self.path.generator(encoding, noise.to(device), condition.to(device))

    def must(self, name: str) -> Extractor:
        """As `extractor`; raises InputError where none is configured."""
        extractor = self.extractor(name)
        if extractor is None:
            raise InputError(
                f"expected a {name} to look at images, found none: set evaluation.{_SETTINGS[name]}"
            )
        return extractor

    def _make_extractor(self, name: str) -> Extractor | None:
        if name == "classifier":
            return classifier_extractor(self.classifier) if self.classifier else None
        if name == "r_precision_encoder":
            return self.r_precision_encoder.extractor() if self.r_precision_encoder else None
        if name in PUBLISHED:
            weights = self.evaluation.inception_weights
            return inception_extractor(name, weights, self.path.device) if weights else None
        encoder, config = self.path.image_encoder, self.path.config
        if encoder is None:
            return None
        return image_extractor(name, "the run's own encoders", encoder, config.embedding_dim)

    def _predictions(self, found: Features) -> Predictions:
        return Predictions(
            found[FEATURES], {head: found[probabilities_of(head)] for head in self.classifier.heads}
        )

    def _first_captions(self, count: int) -> np.ndarray:
        place = _place_in_group(self.pack.caption_image[self.captions])
        return self.captions[place < count]

    def batches(self, captions: np.ndarray, label: str) -> Iterator[tuple[Batch, np.ndarray]]:
        """Captions batch by batch, and their places in `captions`; progress under `label`."""
        config, size = self.path.config, self.evaluation.batch_size
        batches = evaluation_batches(
            self.pack,
            captions,
            size,
            config.modality,
            self.path.vocabulary,
            config.text_encoder.max_words,
        )
        label = f"{config.modality}: {label}"
        for batch in progress(batches, -(-len(captions) // size), label):
            yield batch, np.searchsorted(captions, batch.captions.numpy())


_SETTINGS = {
    "classifier": "classifier",
    "r_precision_encoder": "r_precision_encoder",
    "encoders": "classifier",
} | dict.fromkeys(PUBLISHED, "inception_weights")


def left_out(pack: Pack, path: GenerationPath, captions: np.ndarray) -> dict[str, int]:
    """Why captions of a pack are not among `captions`, those that a path can read: {reason: how many}.

    Raises InputError where none is left.
    """
    usable = pack.usable(path.config.modality)
    if path.config.modality == "speech":
        lacks = "without audio"
        unreadable = f"shorter than one step of the encoder ({path.encoder.shortest()} frames)"
    else:
        lacks, unreadable = "without text", "without a known word"
    if len(captions) == 0:
        raise InputError(
            f"expected captions that the encoder can read in {pack.folder}, found {len(usable)} {unreadable}:"
            " give others"
        )
    counts = {lacks: pack.caption_count - len(usable), unreadable: len(usable) - len(captions)}
    return {why: count for why, count in counts.items() if count}


def read_in_part(pack: Pack, path: GenerationPath, captions: np.ndarray) -> dict[str, int]:
    """Why a text path passes over words of captions that it reads: {reason: how many}."""
    if path.config.modality == "speech":
        return {}
    texts = (pack.caption(int(index)).text for index in captions)
    return path.vocabulary.count_unread(texts, path.config.text_encoder.max_words)


def caption_key(pack: Pack, index: int) -> str:
    """The name that a caption's noise belongs to: its image's id and its place there."""
    image = int(pack.caption_image[index])
    return f"{pack.records[image].id}:{index - int(pack.first_caption[image])}"


def _place_in_group(groups: np.ndarray) -> np.ndarray:
    """How many of its group come before each: (N,) rising groups or not -> (N,)."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    place = np.empty(len(groups), dtype=np.int64)
    place[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return place
