"""The feature bank: features of one path's captions and images, each made once and kept on disk.

Protocols and analyses read it. Whoever needs features of generated images requests them first, so that one
pass generates the images for all extractors; whoever needs whole images keeps their captions (`keep`).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2i.config import EvaluationConfig
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.captions import GENERATED, CaptionSet
from s2i.evaluation.classifier import Classifier, Predictions, probabilities_of
from s2i.evaluation.extractors import FEATURES, Extractor
from s2i.evaluation.feature_extraction import (
    Features,
    GeneratedCaptions,
    caption_features,
    generated_features,
    real_features,
)
from s2i.evaluation.generation import GeneratedCaption, generate_captions
from s2i.evaluation.metric_networks import CLASSIFIER, ENCODERS, MetricNetworks
from s2i.inference.path import GenerationPath


class FeatureBank:
    """Features of one path's captions and images.

    `captions`: the caption set; `networks`: what extracts features; `settings`: of the evaluation.
    """

    def __init__(self, path: GenerationPath, settings: EvaluationConfig | None = None) -> None:
        """Open the captions and the classifier of `settings`, by default the run's own. Raises InputError as
        `CaptionSet` does, and for a classifier that was trained on the split that it is to score."""
        self.settings = settings or path.config.evaluation
        self.captions = CaptionSet(path, self.settings)
        self.path, self.pack = self.captions.path, self.captions.pack
        self.networks = MetricNetworks(self.path, self.settings, self.pack)
        _ = self.classifier  # refused before anything is generated
        self.requested: set[tuple[str, str]] = set()
        self._kept = np.zeros(0, dtype=np.int64)
        self._outputs: GeneratedCaptions = {}
        self._generated: dict[tuple[str, str], Features] = {}
        self._real: dict[tuple[str, str, bytes], Features] = {}

    @property
    def classifier(self) -> Classifier | None:
        """None without `evaluation.classifier`."""
        return self.networks.classifier

    def request(self, name: str, selection: str = GENERATED) -> None:
        """Have an extractor read the images of a selection whenever these are generated."""
        self.requested.add((selection, name))

    def keep(self, captions: np.ndarray) -> None:
        """Keep the whole output of some generated captions, indices in the pack, when these are generated."""
        self._kept = np.union1d(self._kept, captions)

    def generated(self, name: str, selection: str = GENERATED) -> Features:
        """Features of generated images, row by row as `captions.select(selection)`.

        Args:
            name: of the extractor.
            selection: GENERATED, or S2IGAN: the captions of an image share its noise, as in S2IGAN's script.
        """
        if (selection, name) not in self._generated:
            names = {name} | {other for requested, other in self.requested if requested == selection}
            missing = sorted(name for name in names if (selection, name) not in self._generated)
            features, outputs = generated_features(
                self.captions, self.networks, missing, selection, self._kept
            )
            self._generated |= {(selection, name): features[name] for name in missing}
            self._outputs |= outputs
        return self._generated[selection, name]

    def outputs(self, captions: np.ndarray) -> dict[int, GeneratedCaption]:
        """What generating some captions, rising indices in the pack, gives; those that were kept are not
        generated again."""
        missing = np.array([index for index in captions.tolist() if index not in self._outputs], np.int64)
        for batch in generate_captions(self.captions, missing) if len(missing) else ():
            for row, place in enumerate(batch.places):
                self._outputs[int(missing[place])] = GeneratedCaption.of(batch, row)
        return {index: self._outputs[index] for index in captions.tolist()}

    def real(self, name: str, split: str = "", images: np.ndarray | None = None) -> Features:
        """Features of every real image of the split, or of another one, its centre crop.

        Args:
            name: of the extractor.
            images: indices, rising: of these alone.
        """
        key = (split, name, b"" if images is None else images.tobytes())
        if key not in self._real:
            pack = self.pack
            if split and split != self.settings.split:
                pack = Pack(Path(self.path.config.data.pack) / split, self.path.config)
            self._real[key] = real_features(self.captions, self.networks.require(name), pack, images)
        return self._real[key]

    @cached_property
    def caption_embeddings(self) -> Tensor:
        """Of each of `captions.readable`, by the path's own encoder: (N, D)."""
        return torch.from_numpy(caption_features(self.captions)[FEATURES])

    @cached_property
    def image_embeddings(self) -> Tensor:
        """Of every real image, by the path's own image encoder: (images, D)."""
        if self.path.image_encoder is None:
            raise InputError("expected a model with an image encoder, found one imported without")
        return torch.from_numpy(self.real(ENCODERS)[FEATURES])

    @cached_property
    def predictions_of_generated(self) -> Predictions:
        """The classifier on the last stage's image of each of `captions.generated`."""
        return self._predictions(self.generated(CLASSIFIER))

    @cached_property
    def predictions_of_real(self) -> Predictions:
        """The classifier on every image of the split."""
        return self._predictions(self.real(CLASSIFIER))

    def extractor(self, name: str) -> Extractor | None:
        """As `MetricNetworks.extractor`."""
        return self.networks.extractor(name)

    def facts(self) -> dict[str, Any]:
        """What was measured on, for a report."""
        captions, packs = self.captions, self.pack.folder.absolute().parent
        return {
            "subject": self.path.config.data.subject,
            "folder": f"{packs.parent.name}/{packs.name}",
            "split": self.settings.split,
            "images": len(self.pack.records),
            "captions": len(captions.readable),
            "left_out": captions.left_out,
            "read_in_part": captions.read_in_part,
            "generated_captions": len(captions.generated),
            "classes": len(np.unique(self.pack.labels)),
            "generated_size": self.path.config.generated_size,
            "fingerprint": self.pack.fingerprint,
            **({"note": captions.note} if captions.note else {}),
            "seed": self.settings.seed,
            **self.captions.sampling_facts(),
            "classifier": self.classifier.identity if self.classifier else None,
        }

    def identity(self) -> dict[str, Any]:
        """What numbers kept in a file belong to: of anything else they say nothing."""
        generator = self.path.config.generator
        return {
            "step": self.path.step,
            "encoder": self.path.fingerprint("encoder"),
            "generator": self.path.fingerprint("generator"),
            "pack": self.pack.fingerprint,
            "split": self.settings.split,
            "captions": self.settings.captions,
            "seed": self.settings.seed,
            **({"prior": [generator.guidance, generator.truncation]} if generator.prior == "flow" else {}),
            **self.captions.sampling_facts(),
            **(self.path.chooser if self.path.candidates > 1 else {}),
            "classifier": self.classifier.identity if self.classifier else None,
        }

    def _predictions(self, features: Features) -> Predictions:
        probabilities = {head: features[probabilities_of(head)] for head in self.classifier.heads}
        return Predictions(features[FEATURES], probabilities)
