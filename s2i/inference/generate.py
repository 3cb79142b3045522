"""The `generate` command: images from one sentence, spoken or written, as PNG."""

from __future__ import annotations

import os
from pathlib import Path

from s2i.data.audio import Recording
from s2i.data.images import save_png
from s2i.errors import InputError
from s2i.files.output_folder import check_output_file, refuse_folder, say_replaced
from s2i.inference.image_facts import image_facts, text_chunks
from s2i.inference.model import load
from s2i.inference.path import GenerationPath
from s2i.inference.sentence_page import PageSettings, sentence_pages
from s2i.progress import progress


def generate(
    model: str | Path,
    speech: Recording | None,
    text: str | None,
    output: str | Path,
    count: int = 1,
    seed: int = 0,
    truncation: float = 1.0,
    guidance: float = 0.0,
    candidates: int = 1,
    bf16: bool = False,
    stages: bool = False,
    attention: str | Path | None = None,
    scale: int = 1,
    caption: bool | str = False,
    device: str = "auto",
) -> list[Path]:
    """Generate `count` images of a sentence, with the seeds `seed` to `seed + count - 1`.

    Each is generated alone, so a seed's image has the same pixels however many are generated beside it. The
    PNG tells what made it (`image_facts`).

    Args:
        model: an exported model's folder or a GAN run.
        speech: a recording, as `Model.encode` takes it; or
        text: a sentence; one of the two.
        output: a .png file; several images are tiled.
        truncation, guidance, candidates, bf16, stages, scale, caption: as `PageSettings`.
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
    settings = PageSettings(count, seed, truncation, guidance, candidates, bf16, stages, scale, caption)
    path = settings.applied_to(path)
    name, seeds = Path(model).absolute().name, progress(range(seed, seed + count), count, "images generated")
    pages = sentence_pages(path, encoding, text, speech, settings, seeds, name, attention is not None)
    about = text_chunks(image_facts(path, name, text, speech, **settings.chosen()))
    for page, file in zip(pages, outputs, strict=True):
        say_replaced(file)
        save_png(page, file, about)
    return outputs


def check_attention(path: GenerationPath, attention: bool) -> None:
    """Raise InputError where attention maps are requested of a generator without attention."""
    if attention and not path.config.generator.attention:
        raise InputError("expected a generator with attention, found none: leave out --attention")


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
