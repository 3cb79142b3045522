"""What is measured: a trained path from captions to pictures, on one split, and what a judge says of it.

Everything is worked out once and kept; drawn pictures are judged as they come and only the last stage's
opinion stays. Noise belongs to (seed, caption), so two subjects with the same captions draw from the same
noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2i.config import MISSING, EvaluationConfig
from s2i.data.dataset import Batch, evaluation_batches, picture_batches
from s2i.data.images import to_tensor, to_uint8
from s2i.data.manifest import iterate_manifest
from s2i.data.pack import Pack
from s2i.errors import InputError
from s2i.evaluation.judges import Judge, Opinion, fingerprint, load_judge
from s2i.models.generator import Drawing
from s2i.pipeline import DrawingPath
from s2i.progress import progress


class Subject:
    """A path under measurement.

    `captions`: rising indices in `pack` of the captions that it can read; `drawn_captions`: those of them
    that are drawn, the first `evaluation.captions` of each picture; `judge`: None without
    `evaluation.judge`.
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
        self.captions = self._readable()
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
        pictures = self.pack.caption_picture[self.captions]
        first = np.searchsorted(pictures, pictures)  # place of the first caption of each one's picture
        place = np.arange(len(pictures)) - first
        return self.captions[place < self.evaluation.captions]

    def labels(self, captions: np.ndarray) -> np.ndarray:
        """Class labels of captions: (N,)."""
        return self.pack.labels[self.pack.caption_picture[captions]]

    @cached_property
    def sentences(self) -> Tensor:
        """A vector for each of `captions`: (N, D)."""
        vectors = torch.empty(len(self.captions), self.path.config.embedding)
        for batch, places in self._batches(self.captions, "encoding captions"):
            vectors[places] = self.path.encode(batch).sentence.float().cpu()
        return vectors

    @cached_property
    def gallery(self) -> Tensor:
        """Vectors of every real picture by the path's own image encoder: (pictures, D)."""
        if self.path.image_encoder is None:
            raise InputError("expected a model with an image encoder, found one imported without")
        with torch.inference_mode():
            batches = picture_batches(self.pack, self.pack.image_size)
            return torch.cat(
                [self.path.image_encoder(b.to(self.path.device))[0].float().cpu() for b in batches]
            )

    @cached_property
    def opinion_of_drawn(self) -> Opinion:
        """The judge on the last stage's picture of each of `drawn_captions`."""
        places: list[np.ndarray] = []
        opinion = self._judge().look(self._drawn_pictures(places))
        order = np.argsort(np.concatenate(places))
        probabilities = {name: values[order] for name, values in opinion.probabilities.items()}
        return Opinion(opinion.features[order], probabilities)

    @cached_property
    def opinion_of_real(self) -> Opinion:
        """The judge on every picture of the split."""
        return self._judge().look(picture_batches(self.pack, self.path.config.image_size))

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

    def draw(self, captions: np.ndarray) -> Iterator[tuple[np.ndarray, Batch, Drawing]]:
        """Draw captions, batch by batch: their places in `captions`, the batch, every stage's pictures."""
        for batch, places in self._batches(captions, "drawing"):
            keys = [caption_key(self.pack, index) for index in batch.captions.tolist()]
            yield places, batch, self.path.draw(self.path.encode(batch), keys, self.evaluation.seed)

    def _drawn_pictures(self, places: list[np.ndarray]) -> Iterator[Tensor]:
        """Pictures as a file would hold them; where each belongs is appended to `places`."""
        for part, _, drawing in self.draw(self.drawn_captions):
            places.append(part)
            yield to_tensor(torch.from_numpy(to_uint8(drawing.pictures[-1])))

    def _batches(self, captions: np.ndarray, label: str) -> Iterator[tuple[Batch, np.ndarray]]:
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

    def _judge(self) -> Judge:
        if self.judge is None:
            raise InputError("expected a judge's run as evaluation.judge, found none: train one and set it")
        return self.judge

    def _readable(self) -> np.ndarray:
        """Captions long enough for the speech encoder, or with a word that the text encoder knows."""
        usable = self.pack.usable(self.path.config.modality)
        if self.path.config.modality == "speech":
            return usable[self.pack.mel_lengths[usable] >= self.path.encoder.shortest()]
        words = self.path.config.text_encoder.words
        return np.array([index for index in usable if self._has_known_word(index, words)], dtype=np.int64)

    def _has_known_word(self, index: int, words: int) -> bool:
        try:
            self.path.vocabulary.encode(self.pack.caption(index).text or "", words)
        except InputError:
            return False
        return True


def caption_key(pack: Pack, index: int) -> str:
    """The name that a caption's noise belongs to: its picture's id and its place there."""
    picture = int(pack.caption_picture[index])
    return f"{pack.pictures[picture].id}:{index - int(pack.first_caption[picture])}"
