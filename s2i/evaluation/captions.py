"""The captions of a split that a path reads: which are queries, which are generated, in which batches.

Noise belongs to (seed, caption), so two paths over the same captions generate from the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2i.config import MISSING, EvaluationConfig
from s2i.data.batches import Batch, evaluation_batches
from s2i.data.crops import resized
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.trained_captions import trained_captions
from s2i.inference.path import GenerationPath
from s2i.progress import progress, say
from s2i.runs.fingerprints import check_measured_data
from s2i.training.encoder import readable_captions

# Selections of captions whose images are generated.
GENERATED, S2IGAN = ("generated", "s2igan")


# What `sampling_facts` and `CaptionSet.sampling_facts` may have.
SAMPLING = ("truncation", "guidance", "candidates", "normalise_voices", "image_size")


def sampling_note(facts: Mapping[str, Any]) -> str:
    """A sentence of what `sampling_facts` noted among `facts`, after a space; "" where it noted nothing."""
    notes = [f"{name} {facts[name]:g}" for name in SAMPLING[:2] if name in facts]
    if "candidates" in facts:
        notes.append(f"of {facts['candidates']} candidates each the best")
    if facts.get("normalise_voices"):
        notes.append("recordings read under the warps that suit their voices")
    note = f" Sampled otherwise: {', '.join(notes)}." if notes else ""
    size = facts.get("image_size")
    return note + (f" Generated and real images are measured at {size} px." if size else "")


def sampling_facts(chosen: EvaluationConfig | GenerationPath) -> dict[str, float]:
    """What is noted beside a number of images that were sampled otherwise than as the model says, or whose
    recordings were read otherwise than in training."""
    facts = {} if chosen.truncation == 1 else {"truncation": chosen.truncation}
    facts |= {"guidance": chosen.guidance} if chosen.guidance else {}
    facts |= {"candidates": chosen.candidates} if chosen.candidates > 1 else {}
    return facts | ({"normalise_voices": True} if chosen.normalise_voices else {})


class CaptionSet:
    """Captions of one split, as rising indices in its pack.

    `readable`: those that the path can read, each of which is a query of retrieval; `left_out`: {reason: how
    many} of the others, which no metric counts; `read_in_part`: {reason: how many} of `readable`; `note`:
    that the data may be others than were trained on, "" where they are known.
    """

    def __init__(self, path: GenerationPath, settings: EvaluationConfig) -> None:
        """Open the pack of `settings.split`.

        Raises InputError as `Pack` does, for an exported model that nobody gave data, for a generator without
        an encoder, for other data than the path was trained on, and for images that would be enlarged.
        """
        if settings.image_size > path.config.generated_size:
            raise InputError(
                f"expected evaluation.image_size of at most {path.config.generated_size}, which"
                f" {path.folder or path.config.run} generates, found {settings.image_size}: lower it, or"
                " leave it out"
            )
        path = path.sampling(settings.truncation, settings.guidance).choosing_among(settings.candidates)
        if path.config.modality == "speech":
            path = path.hearing(settings.normalise_voices)
        self.path = path
        self.settings = settings
        if path.config.data.pack == MISSING:
            raise InputError(
                f"expected a run, which knows its data, found an exported model from {path.config.modality}:"
                " give the run of s2i train-gan, or the word data.pack=DIR to s2i evaluate, compare or"
                " robustness"
            )
        if path.encoder is None:
            raise InputError(
                f"expected a model that encodes captions, found a generator alone in {path.folder}: import it"
                " again with the encoder that it was trained on"
            )
        self.pack = Pack(Path(path.config.data.pack) / settings.split, path.config)
        is_run = path.config.run != MISSING
        acknowledged = None if is_run else settings.other_data
        owner = f"the {'run' if is_run else 'model'} {path.folder}"
        self.note = check_measured_data(path.data, self.pack, owner, acknowledged)
        self.readable = readable_captions(self.pack, path.config, path.encoder, path.vocabulary)
        self.left_out = _count_left_out(self.pack, path, self.readable)
        if self.left_out:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            say(f"{self.pack.folder}: left out of {self.pack.caption_count} captions: {counts}")
        self.read_in_part = _count_read_in_part(self.pack, path, self.readable)
        for reason, count in self.read_in_part.items():
            say(f"{self.pack.folder}: {count} of {len(self.readable)} captions {reason} are read in part")

    def restrict(self, captions: np.ndarray) -> None:
        """Keep these captions alone: before anything is measured. InputError where none is left."""
        self.readable = np.intersect1d(self.readable, captions)
        self.read_in_part = _count_read_in_part(self.pack, self.path, self.readable)
        if len(self.readable) == 0:
            raise InputError(f"expected captions that every run can read in {self.pack.folder}, found none")

    @property
    def image_size(self) -> int:
        """Side in px of the images that are measured, generated and real."""
        return self.settings.image_size or self.path.config.generated_size

    def as_measured(self, images: np.ndarray) -> np.ndarray:
        """Generated images, reduced where `evaluation.image_size` says so: uint8 (B, H, W, 3)."""
        size = self.settings.image_size
        return resized(torch.from_numpy(images), size).numpy() if size else images

    def sampling_facts(self) -> dict[str, Any]:
        """Those of the path, and `evaluation.image_size`."""
        size = self.settings.image_size
        return sampling_facts(self.path) | ({"image_size": size} if size else {})

    @cached_property
    def generated(self) -> np.ndarray:
        """The first `evaluation.captions` of each image: those that are generated."""
        return self._first_of_each_image(self.settings.captions)

    @cached_property
    def s2igan(self) -> np.ndarray:
        """The first ten captions of the first two captioned images of each class."""
        captions = self._first_of_each_image(10)
        images = np.unique(self.pack.caption_image[captions])
        chosen = images[_rank_in_group(self.pack.labels[images]) < 2]
        return captions[np.isin(self.pack.caption_image[captions], chosen)]

    def select(self, selection: str) -> np.ndarray:
        """The captions of a selection, GENERATED or S2IGAN."""
        return self.generated if selection == GENERATED else self.s2igan

    @cached_property
    def unseen_speakers(self) -> np.ndarray | None:
        """For each caption of the pack, whether its speaker is in no caption of the training split; None
        where the training pack is not at hand, or no caption of this split has a speaker that is unseen."""
        trained = trained_captions(self.path.config)
        if trained is None:
            return None
        seen = {caption.speaker for caption in trained}
        speakers = (caption.speaker for image in self.pack.records for caption in image.captions)
        unseen = np.array([speaker is not None and speaker not in seen for speaker in speakers])
        return unseen if unseen[self.readable].any() else None

    def labels(self, captions: np.ndarray) -> np.ndarray:
        """Class labels of captions: (N,)."""
        return self.pack.labels[self.pack.caption_image[captions]]

    def batches(self, captions: np.ndarray, label: str) -> Iterator[tuple[Batch, np.ndarray]]:
        """Captions batch by batch, and their places in `captions`; progress under `label`."""
        config, size = self.path.config, self.settings.batch_size
        batches = evaluation_batches(
            self.pack, captions, size, config.modality, self.path.vocabulary, config.text_encoder.max_words
        )
        for batch in progress(batches, -(-len(captions) // size), f"{config.modality}: {label}"):
            yield batch, np.searchsorted(captions, batch.captions.numpy())

    def _first_of_each_image(self, count: int) -> np.ndarray:
        return self.readable[_rank_in_group(self.pack.caption_image[self.readable]) < count]


def caption_key(pack: Pack, index: int) -> str:
    """The name that a caption's noise belongs to: its image's id and its place there."""
    image = int(pack.caption_image[index])
    return f"{pack.records[image].id}:{index - int(pack.first_caption[image])}"


def _count_left_out(pack: Pack, path: GenerationPath, readable: np.ndarray) -> dict[str, int]:
    """Why captions of a pack are not among the readable ones: {reason: how many}.

    Raises InputError where none is readable.
    """
    usable = pack.usable(path.config.modality)
    if path.config.modality == "speech":
        lacks = "without audio"
        unreadable = f"shorter than one step of the encoder ({path.encoder.shortest()} frames)"
    else:
        lacks, unreadable = "without text", "without a known word"
    if len(readable) == 0:
        raise InputError(
            f"expected captions that the encoder can read in {pack.folder}, found {len(usable)} {unreadable}:"
            " give others"
        )
    counts = {lacks: pack.caption_count - len(usable), unreadable: len(usable) - len(readable)}
    return {reason: count for reason, count in counts.items() if count}


def _count_read_in_part(pack: Pack, path: GenerationPath, readable: np.ndarray) -> dict[str, int]:
    """Why a text path passes over words of captions that it reads: {reason: how many}."""
    if path.config.modality == "speech":
        return {}
    texts = (pack.caption(int(index)).text for index in readable)
    return path.vocabulary.count_unread(texts, path.config.text_encoder.max_words)


def _rank_in_group(groups: np.ndarray) -> np.ndarray:
    """How many of its group come before each: (N,) in any order -> (N,)."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return rank
