"""What is measured: a trained path from captions to pictures, on one split, and who looks at its pictures.

Everything is worked out once. Drawn pictures are looked at as they come, by every extractor that the asked
protocols need, in one pass; what stays are features, on disk (`features.py`), found again while their
fingerprint fits. Noise belongs to (seed, caption), so two subjects with the same captions draw from the same
noise.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2i.config import MISSING, EvaluationConfig, config_to_dict
from s2i.data.dataset import Batch, evaluation_batches, picture_batches
from s2i.data.images import to_tensor, to_uint8
from s2i.data.manifest import iterate_manifest
from s2i.data.noise import caption_noise
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.extractors import (
    FEATURES,
    Extractor,
    image_extractor,
    judge_extractor,
    probabilities_of,
    weights_identity,
)
from s2i.evaluation.features import FeatureStore
from s2i.evaluation.inception import PUBLISHED, inception_extractor
from s2i.evaluation.judges import Judge, Opinion, fingerprint, load_judge
from s2i.evaluation.scorer import Scorer, load_scorer, readable_captions
from s2i.models.generator import Drawing
from s2i.pipeline import DrawingPath
from s2i.progress import progress, say

VERSION = 1  # of how pictures are drawn and looked at: another one's features fit no more
Features = dict[str, np.ndarray]  # {output: (rows, width) float32}


class Subject:
    """A path under measurement.

    `captions`: rising indices in `pack` of the captions that it can read; `left_out`: {why: how many} of the
    others, none of which is ever counted; `drawn_captions`: those of `captions` that are drawn, the first
    `evaluation.captions` of each picture; `judge`: None without `evaluation.judge`; `asked`: extractors, by
    name, that should look while pictures are drawn anyway.
    """

    def __init__(self, path: DrawingPath, evaluation: EvaluationConfig | None = None) -> None:
        """Open pack and judge of `evaluation`, by default the run's own. Raises InputError as they do, for
        an exported model, and for a judge that was trained on the split that it is to score."""
        self.path = path
        self.evaluation = evaluation or path.config.evaluation
        if path.config.data.pack == MISSING:
            raise InputError(
                f"expected a run, which knows its data, found an exported model from {path.config.modality}:"
                " give the run of s2i train-gan"
            )
        self.pack = Pack(Path(path.config.data.pack) / self.evaluation.split, path.config)
        self.captions = readable_captions(self.pack, path.config, path.encoder, path.vocabulary)
        self.left_out = left_out(self.pack, path, self.captions)
        if self.left_out:
            each = ", ".join(f"{count} {why}" for why, count in self.left_out.items())
            say(f"{self.pack.folder}: left out of {self.pack.caption_count} captions: {each}")
        self.asked: set[str] = set()
        self._extractors: dict[str, Extractor | None] = {}
        self._drawn: dict[tuple[str, str], Features] = {}
        self._real: dict[str, Features] = {}
        self.judge: Judge | None = None
        if self.evaluation.judge:
            self.judge = load_judge(self.evaluation.judge, path.device)
            if fingerprint(self.pack) in self.judge.packs:
                raise InputError(
                    f"expected a judge that never saw {self.pack.folder}, found one trained on it in"
                    f" {self.evaluation.judge}: set judge.pack to other pictures and train it again"
                )

    def keep(self, captions: np.ndarray) -> None:
        """Measure on these captions alone: before anything is measured."""
        self.captions = np.intersect1d(self.captions, captions)
        if len(self.captions) == 0:
            raise InputError(f"expected captions that every run can read in {self.pack.folder}, found none")

    @cached_property
    def drawn_captions(self) -> np.ndarray:
        return self._first_captions(self.evaluation.captions)

    def labels(self, captions: np.ndarray) -> np.ndarray:
        """Class labels of captions: (N,)."""
        return self.pack.labels[self.pack.caption_picture[captions]]

    @cached_property
    def sentences(self) -> Tensor:
        """A vector for each of `captions`: (N, D)."""
        vectors = torch.empty(len(self.captions), self.path.config.embedding)
        for batch, places in self.batches(self.captions, "encoding captions"):
            vectors[places] = self.path.encode(batch).sentence.float().cpu()
        return vectors

    @cached_property
    def gallery(self) -> Tensor:
        """Vectors of every real picture by the path's own image encoder: (pictures, D)."""
        if self.path.image_encoder is None:
            raise InputError("expected a model with an image encoder, found one imported without")
        return torch.from_numpy(self.real("encoders")[FEATURES])

    @cached_property
    def opinion_of_drawn(self) -> Opinion:
        """The judge on the last stage's picture of each of `drawn_captions`."""
        return self._opinion(self.drawn("judge"))

    @cached_property
    def opinion_of_real(self) -> Opinion:
        """The judge on every picture of the split."""
        return self._opinion(self.real("judge"))

    @cached_property
    def unseen_voices(self) -> np.ndarray | None:
        """For each caption of the pack, whether its speaker is in no caption of the training split; None
        where the training pack is not at hand, or no caption of this split has a speaker that is unseen."""
        index = Path(self.path.config.data.pack) / "train" / "index.jsonl"
        if not index.is_file():
            return None
        seen = {caption.speaker for picture in iterate_manifest(index) for caption in picture.captions}
        speakers = (caption.speaker for picture in self.pack.pictures for caption in picture.captions)
        unseen = np.array([speaker is not None and speaker not in seen for speaker in speakers])
        return unseen if unseen[self.captions].any() else None

    @cached_property
    def scorer(self) -> Scorer | None:
        """None without `evaluation.scorer`."""
        return load_scorer(self.evaluation.scorer, self.path) if self.evaluation.scorer else None

    @cached_property
    def s2igan_captions(self) -> np.ndarray:
        """The first ten captions of the first two captioned pictures of each class, rising."""
        captions = self._first_captions(10)
        pictures = np.unique(self.pack.caption_picture[captions])
        chosen = pictures[_place_in_group(self.pack.labels[pictures]) < 2]
        return captions[np.isin(self.pack.caption_picture[captions], chosen)]

    def extractor(self, name: str) -> Extractor | None:
        """The network of that name, None where none is configured.

        "judge", "scorer", "inception", "clean", "imagenet" or "encoders", the path's own image encoder.
        Raises InputError for one that is configured and can't be had.
        """
        if name not in self._extractors:
            self._extractors[name] = self._make_extractor(name)
        return self._extractors[name]

    def drawn(self, name: str, which: str = "drawn") -> Features:
        """Features of drawn pictures, row by row as `drawn_captions`, or as `s2igan_captions`.

        Args:
            name: of the extractor.
            which: "drawn", or "s2igan": the captions of a picture share its noise, as in S2IGAN's script.
        """
        if (which, name) not in self._drawn:
            self._draw_for({name} | (self.asked if which == "drawn" else set()), which)
        return self._drawn[which, name]

    def real(self, name: str) -> Features:
        """Features of every real picture of the split, its centre crop."""
        if name not in self._real:
            self._real[name] = self._look_at_real(self._must(name))
        return self._real[name]

    def draw(
        self, captions: np.ndarray, share_noise: bool = False
    ) -> Iterator[tuple[np.ndarray, Batch, Drawing]]:
        """Draw captions, batch by batch: their places in `captions`, the batch, every stage's pictures.

        With `share_noise` the captions of a picture have one noise together; the noise of conditioning
        augmentation stays each one's own.
        """
        config = self.path.config.generator
        for batch, places in self.batches(captions, "drawing"):
            indices = batch.captions.tolist()
            keys = [caption_key(self.pack, index) for index in indices]
            encoding = self.path.encode(batch)
            if not share_noise:
                yield places, batch, self.path.draw(encoding, keys, self.evaluation.seed)
                continue
            pictures = [self.pack.pictures[self.pack.caption_picture[index]].id for index in indices]
            [noise] = caption_noise(pictures, self.evaluation.seed, [config.noise])
            [condition] = caption_noise(keys, self.evaluation.seed, [config.condition])
            with torch.no_grad():
                device = self.path.device
                yield places, batch, self.path.generator(encoding, noise.to(device), condition.to(device))

    def _draw_for(self, names: Iterable[str], which: str) -> None:
        """One pass of drawing for all of these extractors, of what is not on disk."""
        captions = self.drawn_captions if which == "drawn" else self.s2igan_captions
        extractors = [self._must(name) for name in sorted(names) if (which, name) not in self._drawn]
        stores = [self._store_of_drawn(extractor, which, captions) for extractor in extractors]
        missing = np.unique(np.concatenate([store.missing for store in stores]))
        if 0 < len(missing) < len(captions):
            say(f"{len(captions) - len(missing)} of {len(captions)} pictures were drawn and looked at before")
        if len(missing):
            for places, _, drawing in self.draw(captions[missing], share_noise=which == "s2igan"):
                # As a file would hold them.
                pictures = to_tensor(torch.from_numpy(to_uint8(drawing.pictures[-1])))
                _look(zip(extractors, stores, strict=True), pictures, missing[places])
        for extractor, store in zip(extractors, stores, strict=True):
            store.flush()
            self._drawn[which, extractor.name] = store.read()

    def _store_of_drawn(self, extractor: Extractor, which: str, captions: np.ndarray) -> FeatureStore:
        config = config_to_dict(self.path.config)
        made_from = {
            **self._made_from(extractor),
            "weights": self._weights,
            "modality": self.path.config.modality,
            "networks": {name: config[name] for name in ("generator", "speech_encoder", "text_encoder")},
            "vocabulary": _hash(" ".join(self.path.vocabulary.to_list()) if self.path.vocabulary else ""),
            "captions": _hash(",".join(map(str, captions.tolist()))),
            "seed": self.evaluation.seed,
            "noise": "of the picture" if which == "s2igan" else "of the caption",
        }
        name = f"{which}-{self.evaluation.split}-{self.path.config.modality}-{extractor.name}"
        return FeatureStore(self._folder, name, made_from, len(captions), extractor.outputs, prune=True)

    def _look_at_real(self, extractor: Extractor) -> Features:
        total = len(self.pack.pictures)
        # The own encoders see what they were trained on, which may be larger than what is drawn.
        size = self.pack.image_size if extractor.name == "encoders" else self.path.config.image_size
        name = f"real-{self.evaluation.split}-{extractor.name}"
        made_from = self._made_from(extractor) | {"image_size": size}
        store = FeatureStore(self._shared_folder, name, made_from, total, extractor.outputs)
        missing = store.missing
        if len(missing):
            rows = 256 if total > 256 else max(1, total)
            first = missing[0] // rows  # a killed pass left whole batches
            batches = picture_batches(self.pack, size, rows)
            label = f"{extractor.name}: looking at real pictures"
            for number, pictures in enumerate(progress(batches, -(-total // rows), label)):
                if number >= first:
                    places = np.arange(number * rows, number * rows + len(pictures))
                    _look([(extractor, store)], pictures, places)
            store.flush()
        return store.read()

    def _made_from(self, extractor: Extractor) -> dict[str, Any]:
        return {
            "version": VERSION,
            "extractor": [extractor.name, extractor.identity, extractor.resize],
            "pack": fingerprint(self.pack),
            "split": self.evaluation.split,
            "image_size": self.path.config.image_size,
            "device": self.path.device.type,
        }

    @cached_property
    def _weights(self) -> str:
        return weights_identity(self.path.encoder, self.path.generator)

    @property
    def _folder(self) -> Path:
        """Of features of drawn pictures: with the run."""
        if self.evaluation.cache:
            return Path(self.evaluation.cache) / self._run.name
        return self._run / "features"

    @property
    def _shared_folder(self) -> Path:
        """Of features of real pictures: beside the pack, which runs share, where it may be written."""
        if self.evaluation.cache:
            return Path(self.evaluation.cache) / "real"
        beside = Path(self.path.config.data.pack)
        return beside / "features" if os.access(beside, os.W_OK) else self._run / "features"

    @property
    def _run(self) -> Path:
        return self.path.folder or Path(self.path.config.run)

    def _must(self, name: str) -> Extractor:
        extractor = self.extractor(name)
        if extractor is None:
            raise InputError(
                f"expected a {name} to look at pictures, found none: set evaluation.{_SETTINGS[name]}"
            )
        return extractor

    def _make_extractor(self, name: str) -> Extractor | None:
        if name == "judge":
            return judge_extractor(self.judge) if self.judge else None
        if name == "scorer":
            return self.scorer.extractor() if self.scorer else None
        if name in PUBLISHED:
            weights = self.evaluation.inception_weights
            return inception_extractor(name, weights, self.path.device) if weights else None
        encoder, config = self.path.image_encoder, self.path.config
        if encoder is None:
            return None
        return image_extractor(name, "the run's own encoders", encoder, config.embedding)

    def _opinion(self, found: Features) -> Opinion:
        return Opinion(found[FEATURES], {head: found[probabilities_of(head)] for head in self.judge.heads})

    def _first_captions(self, count: int) -> np.ndarray:
        place = _place_in_group(self.pack.caption_picture[self.captions])
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
            config.text_encoder.words,
        )
        label = f"{config.modality}: {label}"
        for batch in progress(batches, -(-len(captions) // size), label):
            yield batch, np.searchsorted(captions, batch.captions.numpy())


_SETTINGS = {"judge": "judge", "scorer": "scorer", "encoders": "judge"} | dict.fromkeys(
    PUBLISHED, "inception_weights"
)


def left_out(pack: Pack, path: DrawingPath, captions: np.ndarray) -> dict[str, int]:
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


def caption_key(pack: Pack, index: int) -> str:
    """The name that a caption's noise belongs to: its picture's id and its place there."""
    picture = int(pack.caption_picture[index])
    return f"{pack.pictures[picture].id}:{index - int(pack.first_caption[picture])}"


def _look(who: Iterable[tuple[Extractor, FeatureStore]], pictures: Tensor, rows: np.ndarray) -> None:
    for extractor, store in who:
        if np.isin(rows, store.missing).any():
            store.write(rows, {name: value.numpy() for name, value in extractor.look(pictures).items()})


def _place_in_group(groups: np.ndarray) -> np.ndarray:
    """How many of its group come before each: (N,) rising groups or not -> (N,)."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    place = np.empty(len(groups), dtype=np.int64)
    place[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return place


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
