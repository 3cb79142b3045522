"""The pages of one sentence: its images tiled, enlarged and captioned for people, and its attention maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from s2i.data.audio import Recording, hear
from s2i.data.images import grid, resize, to_uint8
from s2i.inference.attention_maps import LEAST_SIDE, attention_overlay, enlarge, segment_labels
from s2i.inference.caption_strip import captioned
from s2i.inference.path import GenerationPath
from s2i.inference.word_segments import attention_during, time_labels, word_segments
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput


@dataclass(frozen=True)
class PageSettings:
    """What a sentence's page shows.

    Attributes:
        count: images, of the seeds `seed` to `seed + count - 1`.
        truncation: factor of the noise, times the model's own.
        guidance: of a learnt prior, towards the caption; 0: the model's own.
        candidates: images of a seed, of which the best is shown.
        bf16: the generator computes in bfloat16.
        stages: every stage's image in a row, enlarged to the size of the last.
        scale: each image is so many times as large, smoothed as data are (bicubic); attention maps are as
            large.
        caption: the sentence, or a recording's name, stands below; or these words.
    """

    count: int = 1
    seed: int = 0
    truncation: float = 1.0
    guidance: float = 0.0
    candidates: int = 1
    bf16: bool = False
    stages: bool = False
    scale: int = 1
    caption: bool | str = False

    def applied_to(self, path: GenerationPath) -> GenerationPath:
        """A path that generates as these say. Raises InputError where it can't."""
        path = path.sampling(self.truncation, self.guidance).choosing_among(self.candidates)
        return path.computing_in(self.bf16)

    def chosen(self) -> dict[str, Any]:
        """Count, seed and stages, and what else isn't the default."""
        default = PageSettings()
        always = ("count", "seed", "stages")
        return {
            name: value
            for name, value in asdict(self).items()
            if name in always or value != getattr(default, name)
        }

    def about(self, model: str) -> str:
        """In words, for a caption: the model and its seeds."""
        last = self.seed + self.count - 1
        seeds = f"seed {self.seed}" if self.count == 1 else f"seeds {self.seed} to {last}"
        sampled = f", truncation {self.truncation:g}" if self.truncation != 1 else ""
        sampled += f", guidance {self.guidance:g}" if self.guidance else ""
        sampled += f", the best of {self.candidates}" if self.candidates > 1 else ""
        return f"{model}, {seeds}{sampled}"


def sentence_pages(
    path: GenerationPath,
    encoding: CaptionEncoding,
    text: str | None,
    speech: Recording | None,
    settings: PageSettings,
    seeds: Iterable[int],
    model: str,
    attention: bool = False,
) -> list[Image.Image]:
    """The page of a sentence's images and, with `attention`, that of the first one's attention maps.

    Args:
        seeds: those of `settings`, which may report how far they are.
        model: its name, for the caption.
    """
    outputs = [path.generate(encoding, [str(number)]) for number in seeds]
    pages = [_tile(outputs, settings)]
    if settings.caption:
        said = settings.caption
        if said is True:
            said = text or (Path(speech).name if isinstance(speech, str | Path) else "a recording")
        pages[0] = captioned(pages[0], said, settings.about(model))
    if attention:
        image = outputs[0].images[-1][0]
        steps, attended = int(encoding.mask.sum()), outputs[0].attention[-1][0].cpu()
        if speech is None:
            labels = segment_labels(path, steps, " ".join(path.vocabulary.read(text)))
        else:
            heard = hear(speech, path.config.audio)
            words = word_segments(heard)
            attended = attention_during(attended[:steps], path.encoder.seconds_per_step, words)
            labels = time_labels(words, heard.seconds_before)
        side = max(LEAST_SIDE, settings.scale * image.shape[-1])
        pages.append(attention_overlay(image, attended, labels, side))
    return pages


def _tile(outputs: list[GeneratorOutput], settings: PageSettings) -> Image.Image:
    if settings.stages:
        largest = outputs[0].images[-1].shape[-1]
        images = [enlarge(stage[0], largest) for output in outputs for stage in output.images]
        columns = len(outputs[0].images)
    else:
        images = [output.images[-1][0] for output in outputs]
        columns = ceil(sqrt(len(images)))
    pixels = [to_uint8(image) for image in images]
    if settings.scale > 1:
        side = settings.scale * len(pixels[0])
        pixels = [np.asarray(resize(Image.fromarray(image), side)) for image in pixels]
    return grid(np.stack(pixels), columns)
