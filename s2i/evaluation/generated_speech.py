"""Measuring generated speech: from images, and through images from speech."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2i.config import MISSING, EvaluationConfig
from s2i.data.batches import evaluation_batches
from s2i.data.crops import centre_crops, read_images
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.captions import caption_key, sampling_facts
from s2i.evaluation.score import Score, mean_score
from s2i.evaluation.speech_classifier import TrainedSpeechClassifier, load_speech_classifier
from s2i.inference.model import Model
from s2i.metrics.statistics import FORM
from s2i.models.log_mel_generator import laid_out
from s2i.progress import progress
from s2i.runs.fingerprints import check_measured_data
from s2i.runs.provenance import refuse_shared

METRIC = "speech_class_accuracy"


class GeneratedSpeech:
    """The speech that a model generates from the held-out images of a split, and who judges it.

    `images`: rising indices in the pack, of classes that the classifier knows; `labels`: their classes' ids.
    """

    def __init__(self, model: Model, settings: EvaluationConfig | None = None) -> None:
        """`settings`: by default the run's own.

        Raises InputError for an exported model without data, for other data than it was trained on, and for a
        classifier of another split or front end, one that had a part in the training, or one that has heard
        every recording of the pack.
        """
        self.model, self.path = model, model.speech_path()
        self.settings = settings or self.path.config.evaluation
        config, folder = self.path.config, self.settings.speech_classifier
        if config.data.pack == MISSING:
            raise InputError(
                "expected a run, which knows its data, found an exported model: give the run of"
                " s2i train-cross-modal, or to s2i evaluate the word data.pack=DIR"
            )
        self.pack = Pack(Path(config.data.pack) / self.settings.split, config)
        is_run = config.run != MISSING
        owner = f"the {'run' if is_run else 'model'} {self.path.folder}"
        self.note = check_measured_data(
            self.path.data, self.pack, owner, None if is_run else self.settings.other_data
        )
        self.classifier = load_speech_classifier(folder, self.path.device) if folder else None
        self.images = np.zeros(0, dtype=np.int64)
        if self.classifier is not None:
            self._check(self.classifier)
            ids = [record.id in self.classifier.held_out for record in self.pack.records]
            known = np.isin(self.pack.class_ids, self.classifier.known)
            spoken = np.bincount(
                self.pack.caption_image[self.pack.usable("speech")], minlength=len(self.pack.records)
            )
            self.images = np.flatnonzero(np.array(ids) & known & (spoken > 0))
            if not len(self.images):
                raise InputError(
                    f"expected images in {self.pack.folder} that the speech classifier {folder} has heard"
                    " nothing of, found none: train it on the same data"
                )

    @property
    def labels(self) -> np.ndarray:
        return self.pack.class_ids[self.images]

    @cached_property
    def captions(self) -> np.ndarray:
        """The first recording of each of `images`: (N,) indices in the pack."""
        usable = self.pack.usable("speech")
        return usable[np.searchsorted(self.pack.caption_image[usable], self.images)]

    def from_images(self) -> Iterator[Tensor]:
        """A log-mel (T, M) of each of `images`."""
        size, batch_size = self.path.config.packed_size, self.settings.batch_size
        starts = range(0, len(self.images), batch_size)
        for start in progress(starts, len(starts), "speech from images"):
            images = self.images[start : start + batch_size]
            pixels = read_images(self.pack, images, centre_crops(self.pack, len(images)), size)
            keys = [self.pack.records[image].id for image in images.tolist()]
            yield from self.path.generate(pixels, keys, self.settings.seed)

    def through_images(self) -> Iterator[Tensor]:
        """A log-mel (T, M) of each of `captions`: of the image that is generated from its recording."""
        path = self.model.path("speech").sampling(self.settings.truncation, self.settings.guidance)
        path = path.hearing(self.settings.normalise_voices).choosing_among(self.settings.candidates)
        places, log_mels = [], []
        batches = evaluation_batches(self.pack, self.captions, self.settings.batch_size, "speech")
        for batch in progress(
            batches, -(-len(self.captions) // self.settings.batch_size), "speech from speech"
        ):
            keys = [caption_key(self.pack, index) for index in batch.captions.tolist()]
            images = path.generate(path.encode(batch), keys, self.settings.seed).images[-1]
            if images.shape[-1] != self.path.config.packed_size:
                images = torch.nn.functional.interpolate(
                    images, (self.path.config.packed_size,) * 2, mode="bilinear", antialias=True
                )
            log_mels += self.path.generate(images, keys, self.settings.seed)
            places += np.searchsorted(self.captions, batch.captions.numpy()).tolist()
        yield from (log_mels[row] for row in np.argsort(places))

    def recordings(self) -> tuple[list[Tensor], np.ndarray]:
        """The log-mels of all recordings of `images`, as long as generated ones are; and their classes."""
        usable = self.pack.usable("speech")
        chosen = usable[np.isin(self.pack.caption_image[usable], self.images)]
        frames, silence = self.path.generator.frames, float(self.path.generator.scale.least)
        mels = []
        for index in chosen.tolist():
            mel = torch.from_numpy(self.pack.unnormalised(index)).T[None]
            mels.append(laid_out(mel, torch.tensor([mel.shape[2]]), frames, silence)[0].T)
        return mels, self.pack.class_ids[self.pack.caption_image[chosen]]

    @cached_property
    def of_recordings(self) -> Score:
        """The classifier on the real recordings."""
        mels, labels = self.recordings()
        return self.score(self.classifier.answers(mels), labels, "real")

    def score(self, answers: np.ndarray, labels: np.ndarray, of: str = "run") -> Score:
        """The share of right answers, (N,) each, with its interval over classes."""
        counts = {"recordings": len(labels), "classes": len(self.classifier.known)}
        return mean_score(METRIC, (answers == labels).astype(float), labels, counts, of=of)

    def record(self, protocol: str, score: Score) -> dict[str, Any]:
        """A score as a line of metrics.jsonl: plain values."""
        line = {
            "step": self.path.step,
            "metric": score.metric,
            "value": score.value,
            "interval95": list(score.interval95) if score.interval95 else None,
            "interval_form": FORM if score.interval95 else None,
            "of": score.of,
            "protocol": protocol,
            "counts": score.counts,
            "split": self.settings.split,
            "fingerprint": self.pack.fingerprint,
            "seed": self.settings.seed,
            **sampling_facts(self.settings),
            "weights": "ema",
            "modality": "image",
            "classifier": self.classifier.identity if self.classifier else None,
            "extractor": "speech classifier",
            "extractor_hash": self.classifier.identity if self.classifier else None,
            "resize": None,
            "reference": "real recordings of the same images",
        }
        return line | ({"note": self.note} if self.note else {})

    def _check(self, classifier: TrainedSpeechClassifier) -> None:
        if classifier.split != self.settings.split:
            raise InputError(
                f"expected a speech classifier that knows the classes of {self.settings.split}, found one of"
                f" {classifier.split}: train one with speech_classifier.split={self.settings.split}"
            )
        classifier.require_front_end(self.path.config.audio)
        trained_by = self.path.all_trained_by()
        for path in self.model.paths.values():
            trained_by |= path.all_trained_by()
        refuse_shared(trained_by, classifier.origins, "a speech classifier", "train another")
