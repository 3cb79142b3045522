"""The `generate` command: images from one sentence, spoken or written, as PNG."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from PIL import Image

from s2i.data.audio import Recording, hear
from s2i.data.images import grid, save_png, to_uint8
from s2i.errors import InputError
from s2i.files.output_folder import check_output_file, refuse_folder
from s2i.inference.attention_maps import attention_overlay, enlarge, segment_labels
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.inference.word_segments import attention_during, word_segments
from s2i.models.caption_encoding import CaptionEncoding
from s2i.models.generator import GeneratorOutput
from s2i.progress import progress


def generate(
    model: str | Path,
    speech: Recording | None,
    text: str | None,
    output: str | Path,
    count: int = 1,
    seed: int = 0,
    truncation: float = 1.0,
    stages: bool = False,
    attention: str | Path | None = None,
    device: str = "auto",
) -> list[Path]:
    """Generate `count` images of a sentence, with the seeds `seed` to `seed + count - 1`.

    Each is generated alone, so a seed's image has the same bytes however many are generated beside it.

    Args:
        model: an exported model's folder or a GAN run.
        speech: a recording, as `Model.encode` takes it; or
        text: a sentence; one of the two.
        output: a .png file; several images are tiled.
        truncation: factor of the noise.
        stages: show every stage's image in a row, enlarged to the size of the last.
        attention: a .png file for the attention map of each word over the first image, at the last stage that
            attends; of speech, of each segment that seems to be a word.
        device: "auto", "cpu" or "cuda".

    Returns:
        The files written, each completely or not at all. Raises InputError for unusable input.
    """
    if count < 1:
        raise InputError(f"expected a count of 1 or more, found {count}: check --count")
    outputs = [Path(output)] + ([Path(attention)] if attention is not None else [])
    check_outputs(outputs)
    for file in outputs:
        check_output_file(file, [speech] if isinstance(speech, (str, Path)) else [])

    loaded = load(model, device, only="speech" if text is None else "text")
    if (speech is None) != (text is None):
        check_attention(loaded.path("speech" if text is None else "text"), attention is not None)
    path, encoding = loaded.encode(speech=speech, text=text)
    path = replace(path, truncation=truncation)
    seeds = progress(range(seed, seed + count), count, "images generated")
    pages = generate_pages(path, encoding, text, speech, seeds, stages, attention is not None)
    for page, file in zip(pages, outputs, strict=True):
        save_png(page, file)
    return outputs


def check_attention(path: GenerationPath, attention: bool) -> None:
    """Raise InputError where attention maps are requested of a generator without attention."""
    if attention and not path.config.generator.attention:
        raise InputError("expected a generator with attention, found none: leave out --attention")


def generate_pages(
    path: GenerationPath,
    encoding: CaptionEncoding,
    text: str | None,
    speech: Recording | None,
    seeds: Iterable[int],
    stages: bool = False,
    attention: bool = False,
) -> list[Image.Image]:
    """The pages of one sentence: its images tiled and, with `attention`, the first one's attention maps."""
    outputs = [path.generate(encoding, [str(number)]) for number in seeds]
    pages = [_tile(outputs, stages)]
    if attention:
        steps, attended = int(encoding.mask.sum()), outputs[0].attention[-1][0].cpu()
        if speech is None:
            labels = segment_labels(path, steps, " ".join(path.vocabulary.read(text)))
        else:
            heard = hear(speech, path.config.audio)
            words, before = word_segments(heard), heard.seconds_before
            attended = attention_during(attended[:steps], path.encoder.seconds_per_step, words)
            labels = [f"{before + start:.2f} - {before + end:.2f} s" for start, end in words]
        pages.append(attention_overlay(outputs[0].images[-1][0], attended, labels))
    return pages


def _tile(outputs: list[GeneratorOutput], stages: bool) -> Image.Image:
    if stages:
        largest = outputs[0].images[-1].shape[-1]
        images = [enlarge(stage[0], largest) for output in outputs for stage in output.images]
        columns = len(outputs[0].images)
    else:
        images = [output.images[-1][0] for output in outputs]
        columns = ceil(sqrt(len(images)))
    return grid(np.stack([to_uint8(image) for image in images]), columns)


def check_outputs(files: list[Path], suffixes: tuple[str, ...] = (".png",)) -> None:
    """Raise InputError before the generation for files that could not be written after it."""
    for file in files:
        if file.suffix.lower() not in suffixes:
            raise InputError(
                f"expected an output that ends in {' or '.join(suffixes)}, found {file}: name it so"
            )
        refuse_folder(file)
        parent = next(folder for folder in file.absolute().parents if folder.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise InputError(
                f"expected a folder that can be written for {file}, found {parent}: choose another"
            )
    if len({os.path.realpath(file) for file in files}) < len(files):
        raise InputError(
            f"expected two files for --output and --attention, found {files[0]} twice: name another"
        )
