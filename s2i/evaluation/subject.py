"""What is measured: a trained path from captions to pictures, on one split, and who looks at its pictures.

Everything is worked out once. Drawn pictures are looked at as they come (`looking.py`); what stays are
features, on disk, found again while their fingerprint fits. Noise belongs to (seed, caption), so two subjects
with the same captions draw from the same noise.
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
from s2i.data.dataset import Batch, evaluation_batches
from s2i.data.manifest import iterate_manifest
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.extractors import (
    FEATURES,
    Extractor,
    image_extractor,
    judge_extractor,
    probabilities_of,
)
from s2i.evaluation.feature_extraction import Features, look_at_captions, look_at_drawn, look_at_real
from s2i.evaluation.inception import PUBLISHED, inception_extractor
from s2i.evaluation.r_precision_encoder import Scorer, load_scorer
from s2i.evaluation.score import DRAWN
from s2i.inference.model import DrawingPath
from s2i.models.generator import Drawing
from s2i.models.noise import caption_noise
from s2i.progress import progress, say
from s2i.runs.fingerprints import hold_against_measured
from s2i.training.classifier import Judge, Opinion, load_judge
from s2i.training.encoder import readable_captions


class Subject:
    """A path under measurement.

    `captions`: rising indices in `pack` of the captions that it can read; `left_out`: {why: how many} of the
    others, none of which is ever counted; `read_in_part`: {why: how many} of `captions`; `drawn_captions`:
    those of `captions` that are drawn, the first `evaluation.captions` of each picture; `judge`: None without
    `evaluation.judge`; `asked`: (which pictures, extractor by name) that should look while those are drawn
    anyway; `note`: that the data may be others than were trained on, "" where they are known.
    """

    def __init__(self, path: DrawingPath, evaluation: EvaluationConfig | None = None) -> None:
        """Open pack and judge of `evaluation`, by default the run's own. Raises InputError as they do, for
        an exported model that nobody gave data, for a generator without an encoder, for other data than the
        path was trained on, and for a judge that was trained on the split that it is to score."""
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
        self._drawn: dict[tuple[str, str], Features] = {}
        self._real: dict[tuple[str, str, bytes], Features] = {}
        self.judge: Judge | None = None
        if self.evaluation.judge:
            self.judge = load_judge(self.evaluation.judge, path.device)
            if self.pack.fingerprint == (self.judge.data or {}).get("train"):
                raise InputError(
                    f"expected a judge that never saw {self.pack.folder}, found one trained on it in"
                    f" {self.evaluation.judge}: set judge.pack to other pictures and train it again"
                )

    def facts(self) -> dict[str, Any]:
        """What was measured on, for a report."""
        return {
            "split": self.evaluation.split,
            "pictures": len(self.pack.pictures),
            "captions": len(self.captions),
            "left_out": self.left_out,
            "read_in_part": self.read_in_part,
            "drawn_captions": len(self.drawn_captions),
            "classes": len(np.unique(self.pack.labels)),
            "image_size": self.path.config.image_size,
            "fingerprint": self.pack.fingerprint,
            **({"note": self.note} if self.note else {}),
            "seed": self.evaluation.seed,
            "judge": self.judge.identity if self.judge else None,
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
            "judge": self.judge.identity if self.judge else None,
        }

    def keep(self, captions: np.ndarray) -> None:
        """Measure on these captions alone: before anything is measured."""
        self.captions = np.intersect1d(self.captions, captions)
        self.read_in_part = read_in_part(self.pack, self.path, self.captions)
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
        return torch.from_numpy(look_at_captions(self)[FEATURES])

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

    def drawn(self, name: str, which: str = DRAWN) -> Features:
        """Features of drawn pictures, row by row as `drawn_captions`, or as `s2igan_captions`: drawn once for
        all who were `asked` to look at these.

        Args:
            name: of the extractor.
            which: DRAWN, or S2IGAN: the captions of a picture share its noise, as in S2IGAN's script.
        """
        if (which, name) not in self._drawn:
            names = {name} | {other for drawn, other in self.asked if drawn == which}
            wanted = sorted(name for name in names if (which, name) not in self._drawn)
            found = look_at_drawn(self, wanted, which)
            self._drawn |= {(which, name): features for name, features in found.items()}
        return self._drawn[which, name]

    def real(self, name: str, split: str = "", pictures: np.ndarray | None = None) -> Features:
        """Features of every real picture of the split, or of another one, its centre crop.

        Args:
            name: of the extractor.
            pictures: indices, rising: of these alone.
        """
        key = (split, name, b"" if pictures is None else pictures.tobytes())
        if key not in self._real:
            pack = self.pack
            if split and split != self.evaluation.split:
                pack = Pack(Path(self.path.config.data.pack) / split, self.path.config)
            self._real[key] = look_at_real(self, self.must(name), pack, pictures)
        return self._real[key]

    def captions_of(self, which: str) -> np.ndarray:
        """What `drawn` has a row for each of."""
        return self.drawn_captions if which == DRAWN else self.s2igan_captions

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
            widths = (config.noise, config.condition)
            noise, _ = caption_noise(pictures, self.evaluation.seed, widths)
            _, condition = caption_noise(keys, self.evaluation.seed, widths)
            with torch.no_grad():
                device = self.path.device
                yield places, batch, self.path.generator(encoding, noise.to(device), condition.to(device))

    def must(self, name: str) -> Extractor:
        """As `extractor`; raises InputError where none is configured."""
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


def read_in_part(pack: Pack, path: DrawingPath, captions: np.ndarray) -> dict[str, int]:
    """Why a text path passes over words of captions that it reads: {reason: how many}."""
    if path.config.modality == "speech":
        return {}
    texts = (pack.caption(int(index)).text for index in captions)
    return path.vocabulary.count_unread(texts, path.config.text_encoder.words)


def caption_key(pack: Pack, index: int) -> str:
    """The name that a caption's noise belongs to: its picture's id and its place there."""
    picture = int(pack.caption_picture[index])
    return f"{pack.pictures[picture].id}:{index - int(pack.first_caption[picture])}"


def _place_in_group(groups: np.ndarray) -> np.ndarray:
    """How many of its group come before each: (N,) rising groups or not -> (N,)."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    place = np.empty(len(groups), dtype=np.int64)
    place[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return place
