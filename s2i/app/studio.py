"""Requests of visitors, with their limits, and a model's answers. Independent of gradio and HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2i.app.timeline import Segment, Timeline, spoken, trace
from s2i.data.audio import hear
from s2i.data.images import load_image, resize, to_uint8
from s2i.data.sound_files import check_recording
from s2i.errors import InputError
from s2i.inference.attention_maps import heat, heat_over, segment_labels
from s2i.inference.model import Model
from s2i.inference.path import GenerationPath
from s2i.inference.word_segments import attention_during, word_segments
from s2i.models.caption_encoding import CaptionEncoding
from s2i.search.index import Index

LONGEST = 30.0  # s of a recording
MOST_CHARACTERS = 300
MOST_IMAGES = 8
LARGEST_SEED = 999_999
NEIGHBOURS = 6  # real images shown for each sentence
NEIGHBOUR_SIDE = 128  # px
ATTENTION_SIDE = 128  # px, at most, of an attention map: there is one a segment, so their bytes add up


@dataclass(frozen=True)
class Request:
    """A recording, a sentence or both, and the seeds to generate each with; of so many `candidates` a seed
    the best is shown."""

    recording: Path | None
    text: str
    seeds: tuple[int, ...]
    candidates: int = 1


@dataclass(frozen=True)
class GeneratedImage:
    """The image of one caption and one seed."""

    seed: int
    stages: list[np.ndarray]  # uint8 (S, S, 3) each, smallest first
    attention: list[np.ndarray]  # uint8 (S, S, 3), the image under the attention map of each segment or word
    strongest: int = 0  # the segment or word of the strongest attention map


@dataclass(frozen=True)
class Neighbour:
    """A real image near the sentence in the embedding space."""

    image: np.ndarray  # uint8 (S, S, 3), S = NEIGHBOUR_SIDE
    name: str  # its class, or its id in the index
    caption: str  # "" where none is written
    cosine: float


@dataclass(frozen=True)
class ModalityAnswer:
    """The images from one modality of the request."""

    modality: str
    segments: list[Segment]  # words, or stretches of speech that seem to be one each
    generated_images: list[GeneratedImage]  # one a seed
    unknown: list[str] = field(default_factory=list)  # words that are not in the vocabulary
    unread: list[str] = field(default_factory=list)  # words beyond the longest sentence
    neighbours: list[Neighbour] = field(default_factory=list)  # nearest first; empty without an index
    notes: list[str] = field(default_factory=list)  # what is wrong with the recording
    is_unfamiliar: bool = False  # the recording is unlike those that the model was trained on


@dataclass(frozen=True)
class Answer:
    """Everything that the page shows for a request."""

    request: Request
    modalities: list[ModalityAnswer]
    timeline: Timeline | None  # of the recording


def parse_seeds(words: str) -> tuple[int, ...]:
    """Seeds as a person writes them: "0-3, 7" -> (0, 1, 2, 3, 7), each once.

    Raises InputError for anything else, none, more than `MOST_IMAGES`, or one that is too large.
    """
    seeds: dict[int, None] = {}
    for item in re.split(r"[,;\s]+", re.sub(r"\s*[-\u2013]\s*", "-", words.strip())):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", item)
        if not match:
            raise InputError(f"expected seeds such as 0-3 or 2, 5, 11, found {item!r}: write whole numbers")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last <= LARGEST_SEED:
            raise InputError(
                f"expected seeds from 0 to {LARGEST_SEED}, the smaller first, found {item!r}: choose others"
            )
        if last - first >= MOST_IMAGES or len(seeds.keys() | set(range(first, last + 1))) > MOST_IMAGES:
            raise InputError(
                f"expected at most {MOST_IMAGES} seeds, found more in {words.strip()[:40]!r}: choose fewer"
            )
        seeds |= dict.fromkeys(range(first, last + 1))
    return tuple(seeds)


def next_seeds(seeds: Sequence[int]) -> str:
    """As many seeds again, after the largest: (0, 1, 2) -> "3-5"."""
    first = max(seeds) + 1 if max(seeds) + len(seeds) <= LARGEST_SEED else 0
    return str(first) if len(seeds) == 1 else f"{first}-{first + len(seeds) - 1}"


class Studio:
    """Answers requests with a model and, if there is one, an index of real images."""

    def __init__(self, model: Model, index: Index | None = None) -> None:
        """Raises InputError for an index of another model, or without images."""
        self.model, self.index = model, index
        if index is not None:
            indexed = [path for name, path in model.paths.items() if name in index.spaces]
            for path in indexed or model.paths.values():
                index.check(path)

    def answer(self, request: Request) -> Answer:
        """Generate from speech, from text, or from both with the same noise, or among the same candidates.

        A seed's image is that of `s2i generate --seed --candidates`. Raises InputError for a request that
        has neither, is out of bounds, or that the model can't encode.
        """
        text = request.text.strip()
        if request.recording is None and not text:
            raise InputError("expected a recording or a sentence, found neither: speak, upload or type one")
        if len(text) > MOST_CHARACTERS:
            raise InputError(
                f"expected a sentence of at most {MOST_CHARACTERS} characters, found {len(text)}: shorten it"
            )
        if not 1 <= len(request.seeds) <= MOST_IMAGES:
            raise InputError(f"expected 1 to {MOST_IMAGES} seeds, found {len(request.seeds)}")
        answers, timeline = [], None
        if request.recording is not None:
            path = self.model.path("speech").choosing_among(request.candidates)
            check_recording(request.recording, LONGEST)
            heard = hear(request.recording, path.config.audio)
            encoding = path.encode_speech([heard.spoken])
            timeline = trace(heard.waveform, path.config.audio, heard.start, heard.stop)
            words, step = word_segments(heard), path.encoder.seconds_per_step
            segments = [spoken(timeline.start + start, timeline.start + end) for start, end in words]
            generated_images = _generate(
                path, encoding, request.seeds, lambda maps: attention_during(maps, step, words)
            )
            answers.append(
                ModalityAnswer(
                    "speech",
                    segments,
                    generated_images,
                    neighbours=self._nearest(path, encoding),
                    notes=heard.notes(),
                    is_unfamiliar=bool(path.doubt_of(heard.spoken)),
                )
            )
        if text:
            path = self.model.path("text").choosing_among(request.candidates)
            encoding = path.encode_text([text])
            answers.append(self._answer_text(path, encoding, text, request.seeds))
        return Answer(request, answers, timeline)

    def _answer_text(
        self, path: GenerationPath, encoding: CaptionEncoding, text: str, seeds: Sequence[int]
    ) -> ModalityAnswer:
        unread = path.vocabulary.unread(text, path.config.text_encoder.max_words)
        steps = int(encoding.mask.sum())
        read = " ".join(path.vocabulary.read(text))
        segments = [Segment(label) for label in segment_labels(path, steps, read)]
        return ModalityAnswer(
            "text",
            segments,
            _generate(path, encoding, seeds, lambda maps: maps),
            list(unread.unknown),
            list(unread.beyond),
            self._nearest(path, encoding),
        )

    def _nearest(self, path: GenerationPath, encoding: CaptionEncoding) -> list[Neighbour]:
        space = path.config.modality
        if self.index is None or space not in self.index.spaces:
            return []
        vector = F.normalize(encoding.sentence, dim=1)[0].cpu().numpy()
        return [
            Neighbour(
                np.asarray(resize(load_image(hit.image), NEIGHBOUR_SIDE)),
                hit.class_name or hit.id,
                hit.caption or "",
                hit.score,
            )
            for hit in self.index.nearest(vector, NEIGHBOURS, space)
        ]


def _generate(
    path: GenerationPath,
    encoding: CaptionEncoding,
    seeds: Sequence[int],
    of_segments: Callable[[Tensor], Tensor],
) -> list[GeneratedImage]:
    """`of_segments`: attention to the valid steps (T, H, W) -> to the segments that are shown."""
    steps, generated_images = int(encoding.mask.sum()), []
    for seed in seeds:
        output = path.generate(encoding, [str(seed)])  # alone and with this key, as the command does
        maps, strongest = [], 0
        if output.attention:
            image, attention = output.images[-1][0].cpu(), output.attention[-1][0].cpu()
            strengths = heat(of_segments(attention[:steps]))
            maps = [_fit(heat_over(image, strength)) for strength in strengths]
            strongest = strongest_map(strengths)
        stages = [to_uint8(stage[0]) for stage in output.images]
        generated_images.append(GeneratedImage(seed, stages, maps, strongest))
    return generated_images


def strongest_map(strengths: Tensor) -> int:
    """Which of the maps (T, H, W), in [0, 1], has the largest mean square: a strong spot counts more than a
    faint veil over the whole image."""
    return int(strengths.flatten(1).square().mean(1).argmax())


def _fit(image: np.ndarray) -> np.ndarray:
    if len(image) <= ATTENTION_SIDE:
        return image
    return np.asarray(Image.fromarray(image).resize((ATTENTION_SIDE, ATTENTION_SIDE), Image.Resampling.BOX))
